"""VIPs that come into service and leave it, thousands of times, on the real stack: is a route ever without a datapath?

The witness at the router sends a datagram along every route the moment it appears, and while it stands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import yaml

from tests.bench.report import Row
from tests.e2e.cluster import Cluster, cluster
from tests.figures.rows import counted
from tests.lab import until
from tests.lab.agents import NodeAgent
from tests.lab.companion import Companion
from tests.lab.release import Edit, build_release

TRANSITIONS = 10_000
_PROGRAM = Path(__file__).with_name("witness.py")
_NETWORK = "203.0.113.0/24"
_VIPS = tuple(f"203.0.113.{number}" for number in range(11, 251))
_EVERY_SECONDS = 0.25
_CLUSTER_ROUNDS = 2
_BACK_SECONDS = 60.0

#: The gate off: announced first, programmed and proven after.
_WITHOUT_THE_GATE = (
    Edit(
        "announcer/plan/lanes.py",
        "    steps += [ProgramFrontend(lane=lane, frontend=frontend) for frontend in program]\n"
        "    announcements = _announcements(view, vip)\n",
        "    steps += _announcements(view, vip)\n"
        "    steps += [ProgramFrontend(lane=lane, frontend=frontend) for frontend in program]\n"
        "    announcements: list[AnyStep] = []\n",
    ),
)


class Witnessed(msgspec.Struct, frozen=True):
    """What the witness told; see ``Told`` in ``witness.py``."""

    changes: int
    sent: int
    at_once: int
    lost: int
    dark_ms: float


class Witness(Companion[Witnessed]):
    """``with Witness(made) as witness:`` watches; ``stop`` says what was seen."""

    def __init__(self, made: Cluster) -> None:
        """At the router of the lab."""
        options = [f"--network={_NETWORK}", "--port=53", f"--every={_EVERY_SECONDS}"]
        super().__init__(made.lab.router, [sys.executable, "-I", "-S", _PROGRAM, *options], "watching", Witnessed)


def transition_rows() -> list[Row]:
    """Policy Local, where a node answers for itself alone; then Cluster; and Local with the gate off as the control."""
    with _many_vips("Local") as made:
        per_round = 2 * len(_VIPS) * len(made.agents)
        rounds = -(-TRANSITIONS // per_round)
        local = _witnessed(made, rounds)
        other = build_release(made.lab.folder / "ungated", _WITHOUT_THE_GATE)
        for agent in made.agents:
            agent.terminate()
            agent.release = other
            agent.start()
        ungated = _witnessed(made, 1)
    with _many_vips("Cluster") as made:
        shared = _witnessed(made, _CLUSTER_ROUNDS)
    control = (
        f"the gate off, {per_round} transitions: {ungated.lost} of {ungated.sent} datagrams lost, "
        f"{ungated.dark_ms:.0f} ms in sum"
    )
    return [
        *_rows("local", rounds * per_round, local, control),
        *_rows("cluster", _CLUSTER_ROUNDS * per_round, shared, control),
    ]


def _rows(policy: str, transitions: int, seen: Witnessed, control: str) -> list[Row]:
    time = Row(
        name=f"announced-without-datapath/policy-{policy}/time",
        value=round(seen.dark_ms, 1),
        unit="ms",
        spread=(round(seen.dark_ms, 1), round(seen.dark_ms, 1)),
        n=transitions,
        target="0 ms",
        ok=seen.dark_ms == 0,
        control=control,
    )
    how = f"{seen.at_once} of them sent the moment a route came or changed"
    name = f"announced-without-datapath/policy-{policy}/datagrams-lost"
    return [time, counted(name, seen.lost, seen.sent, control=how)]


@contextmanager
def _many_vips(policy: str) -> Iterator[Cluster]:
    """A running cluster; every VIP is there and has no backend yet."""
    with cluster() as made:
        for agent in made.agents:
            (agent.source / "service-web.yaml").unlink()
            (agent.source / "endpointslice-web.yaml").unlink()
            config = (agent.source / "bgp-config.yaml").read_text()
            made.write(agent, "bgp-config.yaml", config.replace("203.0.113.0/28", _NETWORK))
            made.write(agent, "services.yaml", yaml.safe_dump_all(_service(vip, policy) for vip in _VIPS))
        _set_ready(made, False)
        for agent in made.agents:
            agent.start()
        _await_gone(made)
        # The lab's nodes reach each other's Pods by way of the router.
        ways = {node.pod_cidr: frozenset({node.address}) for node in made.lab.nodes}
        until(lambda: ways.items() <= made.lab.router.fib().items(), "the ways to all Pods", _BACK_SECONDS)
        yield made


def _witnessed(made: Cluster, rounds: int) -> Witnessed:
    with Witness(made) as witness:
        everywhere = dict.fromkeys(_VIPS, frozenset(node.address for node in made.lab.nodes))
        for _ in range(rounds):
            _set_ready(made, True)
            until(lambda: _routes(made) == everywhere, "every VIP from every node", _BACK_SECONDS)
            _set_ready(made, False)
            _await_gone(made)
        return witness.stop()


def _await_gone(made: Cluster) -> None:
    """No route, every VIP known, and no backend left in any kernel: what comes next has to be programmed."""
    until(lambda: not _routes(made), "no route to a VIP", _BACK_SECONDS)
    for agent in made.agents:
        until(lambda agent=agent: _is_idle(agent), "every VIP in the kernel without a backend", _BACK_SECONDS)  # type: ignore[misc]


def _is_idle(agent: NodeAgent) -> bool:
    datapath = agent.status().get("datapath", {})
    return (datapath.get("frontends"), datapath.get("backends")) == (len(_VIPS), 0)


def _routes(made: Cluster) -> dict[str, frozenset[str]]:
    fib = made.lab.router.fib()
    return {vip: hops for vip in _VIPS if (hops := fib.get(f"{vip}/32"))}


def _set_ready(made: Cluster, ready: bool) -> None:
    text = yaml.safe_dump_all(_slice(made, vip, ready) for vip in _VIPS)
    for agent in made.agents:
        made.write(agent, "slices.yaml", text)


def _name(vip: str) -> str:
    return "vip-" + vip.rpartition(".")[2]


def _service(vip: str, policy: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _name(vip), "namespace": "default"},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerIP": vip,
            "externalTrafficPolicy": policy,
            "ports": [{"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353}],
        },
    }


def _slice(made: Cluster, vip: str, ready: bool) -> dict[str, object]:
    conditions = {"ready": ready, "serving": ready, "terminating": False}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": _name(vip), "namespace": "default", "labels": {"kubernetes.io/service-name": _name(vip)}},
        "addressType": "IPv4",
        "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}],
        "endpoints": [
            {"addresses": [pod.address], "nodeName": node.name, "conditions": dict(conditions)}
            for node in made.lab.nodes
            for pod in node.pods
        ],
    }
