"""What goes through a VIP arrives whole, whatever is changed meanwhile: each mode, family and protocol, near and far.

Only n1 attracts packets, so a backend there is a local one and a backend on n2 a remote one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import VIP, Cluster, Manifest, ending
from tests.e2e.dual_stack import VIP6, dual_stack_cluster, endpoints6
from tests.figures.client import Blast
from tests.lab import until
from tests.lab.agents import NodeAgent
from tests.lab.lab import Pod
from tests.lab.release import OTHER_PROGRAMS, build_release

pytestmark = [pytest.mark.root, pytest.mark.lab]

#: How packets reach remote backends, and what the agents are told for it.
MODES: dict[str, tuple[str, ...]] = {
    "dsr": (),
    "geneve": ("--lb-mode=geneve",),
    "snat": ("--lb-mode=snat",),
    "hybrid": ("--lb-mode=hybrid",),
}
#: How the packets of a TCP connection to a remote backend are counted; hybrid takes the road of DSR for TCP.
VERDICTS = {"dsr": "remote_tx", "geneve": "geneve_tx", "snat": "snat_tx", "hybrid": "remote_tx"}
#: Which backend, and the addresses by which it is served.
WHERE = {"local": ("203.0.113.11", "2001:db8:f::11"), "remote": ("203.0.113.12", "2001:db8:f::12")}
TARGETS = [
    pytest.param(vip, where, id=f"{where}-IPv{6 if ':' in vip else 4}") for where in WHERE for vip in WHERE[where]
]
BULK, IPERF = 5202, 5201
_PROGRAM = Path(__file__).parents[1] / "lab" / "bulk.py"
_MEGABYTES = 32
#: What iperf3 is told by a server that serves somebody else, or has not noticed yet that he is gone.
_BUSY = "the server is busy running a test"


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(mode: str) -> Iterator[Cluster]:
    with dual_stack_cluster("bird", MODES[mode]) as made:
        made.edit("node-n2.yaml", _excluded)
        for where, pod in backends(made).items():
            service, four, six = _manifests(made, where, pod)
            for agent in made.agents:
                made.write(agent, f"endpointslice-{where}.yaml", four)
                made.write(agent, f"endpointslice-{where}6.yaml", six)
                made.write(agent, f"service-{where}.yaml", service)
            serving = pod.popen([sys.executable, "-I", "-S", _PROGRAM, "serve", str(BULK)], stdout=subprocess.PIPE)
            assert serving.stdout is not None
            assert serving.stdout.readline() == "ready\n"
            pod.popen(["iperf3", "--server", "--port", str(IPERF)])
            until(lambda pod=pod: _listens(pod, IPERF), f"iperf3 listens in {pod.name}", 20)  # type: ignore[misc]
        first = made.lab.nodes[0]
        for vip, hop in ((vip, first.address6 if ":" in vip else first.address) for vip in _all_vips()):
            prefix = f"{vip}/{128 if ':' in vip else 32}"
            until(lambda p=prefix, h=hop: made.lab.router.fib().get(p) == frozenset({h}), f"only n1 attracts {vip}", 30)  # type: ignore[misc]
        yield made


def backends(made: Cluster) -> dict[str, Pod]:
    first, second = made.lab.nodes
    return {"local": first.pods[0], "remote": second.pods[0]}


def _all_vips() -> list[str]:
    return [VIP, VIP6, *(vip for vips in WHERE.values() for vip in vips)]


def _excluded(manifest: Manifest) -> None:
    manifest["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] = ""


def _manifests(made: Cluster, where: str, pod: Pod) -> list[str]:
    """A Service with one backend, and its EndpointSlice for each family."""
    numbers = {"bulk": BULK, "iperf": IPERF}
    both = [(f"{name}-{protocol.lower()}", protocol, numbers[name]) for name in numbers for protocol in ("TCP", "UDP")]
    ports = [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in both]
    service = yaml.safe_load((made.agents[0].source / "service-web.yaml").read_text())
    service["metadata"]["name"], service["spec"]["ports"] = where, ports
    service["status"] = {"loadBalancer": {"ingress": [{"ip": vip} for vip in WHERE[where]]}}
    six = yaml.safe_load(endpoints6(made, where, (pod,)))
    four = six | {"addressType": "IPv4", "metadata": six["metadata"] | {"name": f"{where}-4"}}
    four["endpoints"] = [six["endpoints"][0] | {"addresses": [pod.address]}]
    return [
        yaml.safe_dump(manifest | {"ports": ports} if "ports" in manifest else manifest)
        for manifest in (service, four, six)
    ]


def _listens(pod: Pod, port: int) -> bool:
    return f":{port} " in pod.run(["ss", "-Hltn"]).stdout + " "


def _target(vip: str, port: int) -> str:
    return f"[{vip}]:{port}" if ":" in vip else f"{vip}:{port}"


def _compared(made: Cluster, protocol: str, vip: str, *numbers: int) -> str:
    argv: list[str | Path] = [sys.executable, "-I", "-S", _PROGRAM, protocol, _target(vip, BULK), *map(str, numbers)]
    return made.lab.client.run(argv, timeout=120).stdout


@pytest.mark.parametrize(("vip", "where"), TARGETS)
def test_a_large_transfer_comes_back_as_it_went(made: Cluster, mode: str, vip: str, where: str) -> None:
    before = made.agents[0].metrics()
    assert _compared(made, "tcp", vip, _MEGABYTES << 20) == "same\n"
    after = made.agents[0].metrics()
    names = {
        verdict: f'lockstep_datapath_packets_total{{verdict="{verdict}"}}' for verdict in ("local", *VERDICTS.values())
    }
    took = {verdict for verdict, name in names.items() if after[name] - before[name] > 1000}
    assert took == {"local" if where == "local" else VERDICTS[mode]}


@pytest.mark.parametrize(("vip", "where"), TARGETS)
def test_datagrams_in_fragments_come_back_as_they_went(made: Cluster, vip: str, where: str) -> None:
    assert _compared(made, "udp", vip, 200, 8000) == "same\n"


def _iperf(made: Cluster, vip: str, *more: str) -> dict[str, dict[str, float]]:
    """What iperf3 says at its end. One that fails says so in its answer, and ends with 0."""
    argv = ["iperf3", "--client", vip, "--port", str(IPERF), "--json", *more]

    def measured() -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(made.lab.client.run(argv, timeout=60).stdout)
        return {} if answer.get("error", "").startswith(_BUSY) else answer

    answer = until(measured, "the server has done with the test before")
    assert "error" not in answer, answer["error"]
    end: dict[str, dict[str, float]] = answer["end"]
    return end


@pytest.mark.parametrize(("vip", "where"), TARGETS)
def test_iperf3_by_tcp(made: Cluster, vip: str, where: str) -> None:
    end = _iperf(made, vip, "--bytes=16M")
    assert end["sum_received"]["bytes"] > 1_000_000, "the server stops counting while some is on its way"


@pytest.mark.parametrize(("vip", "where"), TARGETS)
def test_iperf3_by_udp_at_1000_packets_a_second(made: Cluster, vip: str, where: str) -> None:
    """What the server was too slow to read has arrived all the same: the machine may be busy."""
    pod = backends(made)[where]
    before = _overflows(pod)
    end = _iperf(made, vip, "--udp", "--length=200", "--bitrate=1600k", "--blockcount=1000")
    assert end["sum"]["packets"] >= 500
    assert end["sum"]["lost_packets"] <= _overflows(pod) - before


def _overflows(pod: Pod) -> int:
    """Datagrams for which a socket of the pod had no room, in both families."""
    six = dict(line.split() for line in pod.run(["cat", "/proc/net/snmp6"]).stdout.splitlines())
    head, values = (
        line.split() for line in pod.run(["cat", "/proc/net/snmp"]).stdout.splitlines() if line[:4] == "Udp:"
    )
    return int(six["Udp6RcvbufErrors"]) + int(dict(zip(head, values, strict=True))["RcvbufErrors"])


def _ends(made: Cluster, *pods: Pod, serving: bool = True) -> None:
    """These pods terminate, all others take new connections, and every node has programmed it.

    ``serving`` False: as many do, they fail their readiness probe meanwhile, so that nobody sends them anything new.
    """
    addresses = [address for pod in pods for address in (pod.address, pod.address6)]
    for file in ("endpointslice-web.yaml", "endpointslice-web6.yaml"):
        made.edit(file, ending(*addresses, serving=serving))
    made.await_serving(len(made.lab.pods) - len(pods))


def _restarted(agent: NodeAgent, release: Path | None) -> None:
    agent.terminate()
    agent.release = release
    agent.start()
    until(agent.status, f"the agent of {agent.node.name} answers again", 30)


def test_200_connections_and_1000_packets_a_second_through_every_change(made: Cluster) -> None:
    """Backends go and come back on both nodes, agents restart, programs change: nothing is reset, nothing lost."""
    other = build_release(made.lab.folder / "other", OTHER_PROGRAMS)
    first, second = made.lab.nodes
    with (
        Blast(made.lab.client, VIP, rate=500, connections=100) as four,
        Blast(made.lab.client, VIP6, rate=500, connections=100) as six,
    ):
        _ends(made, second.pods[1])
        _ends(made, first.pods[1])
        _restarted(made.agents[0], None)
        _ends(made)
        _restarted(made.agents[1], other)
        _restarted(made.agents[0], other)
        _ends(made, first.pods[0], second.pods[0])
        _ends(made, first.pods[0], second.pods[0], serving=False)
        four.await_every_connection()
        six.await_every_connection()
        _ends(made)
        _ends(made, first.pods[1], second.pods[1], serving=False)
        four.await_every_connection()
        six.await_every_connection()
        _ends(made)
        seen = {"IPv4": four.stop(), "IPv6": six.stop()}
    for family, blasted in seen.items():
        assert (blasted.lost, blasted.broken) == (0, 0), (family, blasted)
        assert blasted.sent > 1000, (family, blasted)


def test_control_backends_that_are_gone_at_once_break_connections(made: Cluster) -> None:
    """Not gracefully: the endpoints leave the slice."""
    second = made.lab.nodes[1]
    gone = {pod.address for pod in second.pods}

    def remove(manifest: Manifest) -> None:
        manifest["endpoints"] = [one for one in manifest["endpoints"] if one["addresses"][0] not in gone]

    with Blast(made.lab.client, VIP, rate=200, connections=40) as blast:
        made.edit("endpointslice-web.yaml", remove)
        made.await_serving(2)
        until(lambda: blast.look().broken > 0, "a connection is broken", 30)
