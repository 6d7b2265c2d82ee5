"""Every mode, in both families, by TCP and UDP, as an operator turns it on: by the flag of the node, by the Service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from announcer.model.lb import LbMode, Mode
from announcer.model.net import Protocol
from tests.e2e.cluster import VIP, Cluster, Manifest
from tests.e2e.dual_stack import VIP6, await_both, dual_stack_cluster
from tests.lab import until
from tests.lab.traffic import SteadyTraffic, send

pytestmark = [pytest.mark.root, pytest.mark.lab]

ADDRESSES = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["IPv4", "IPv6"])
MODES = [*LbMode, "snat by annotation", "geneve by annotation"]
#: What moves where a request by TCP goes to another node.
TCP_VERDICTS = {
    Mode.DSR: {"remote_tx", "decapsulated"},
    Mode.GENEVE: {"geneve_tx", "decapsulated"},
    Mode.SNAT: {"snat_tx", "snat_reply_tx"},
}
CLIENTS = {VIP: "198.51.100.10", VIP6: "2001:db8:c::10"}


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with dual_stack_cluster("bird") as made:
        yield made


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest, made: Cluster) -> str:
    """The mode that is in force on all nodes, proven and announced."""
    flag, _, by_annotation = str(request.param).partition(" by ")

    def annotate(service: Manifest) -> None:
        service["metadata"]["annotations"] = {"lockstep/lb-mode": flag} if by_annotation else {}

    made.edit("service-web.yaml", annotate)
    for agent in made.agents:
        agent.terminate()
        agent.arguments = () if by_annotation else ("--lb-mode", flag)
        agent.start()
    wanted = {80: LbMode(flag).of(Protocol.TCP), 53: LbMode(flag).of(Protocol.UDP)}
    for agent in made.agents:
        until(lambda agent=agent: _modes(agent.explain(VIP6)) == wanted, f"{flag} on {agent.node.name}", 30)  # type: ignore[misc]
    await_both(made)
    return flag


def _modes(answer: dict[str, object]) -> dict[int, str]:
    frontends = [frontend for vip in answer.get("vips", ()) for frontend in vip["frontends"]]  # type: ignore[attr-defined]
    if not all(frontend["programmed"] for frontend in frontends):
        return {}
    return {int(each["frontend"].rpartition(":")[2].partition("/")[0]): each["mode"] for each in frontends}


@ADDRESSES
def test_every_mode_serves_and_shows_the_pods_what_it_says(made: Cluster, mode: str, vip: str) -> None:
    target = f"[{vip}]" if ":" in vip else vip
    for port, protocol in ((80, "http"), (53, "udp")):
        traffic = send(made.lab.client, f"{target}:{port}", count=200, protocol=protocol)  # type: ignore[arg-type]
        assert traffic.failed == 0, traffic.errors
        assert traffic.backends.keys() == {pod.name for pod in made.lab.pods}
        if protocol == "http":
            nodes = {node.address6 if ":" in vip else node.address for node in made.lab.nodes}
            assert set(traffic.clients) == {CLIENTS[vip], *(nodes if mode == "snat" else ())}


@ADDRESSES
def test_the_way_of_a_packet_is_shown(made: Cluster, mode: str, vip: str) -> None:
    agent, six = made.agents[0], ":" in vip
    backends = _backends(agent.explain(vip))
    client, target = (f"[{each}]" if six else each for each in (CLIENTS[vip], vip))
    traced = [agent.trace(f"{client}:{port}", f"{target}:80") for port in range(40000, 40040)]
    sent_on = [answer for answer in traced if not answer["backend"]["local"]]
    assert sent_on, "40 flows and four backends"
    for answer in sent_on:
        backend, packet = answer["backend"], answer["packet"]
        other = made.lab.nodes[1].address6 if six else made.lab.nodes[1].address
        way = LbMode(mode).of(Protocol.TCP)
        assert backends[backend["address"]] == (other if way is Mode.GENEVE else None) == backend["node"]
        assert answer["reason"] == {Mode.DSR: "remote_tx", Mode.GENEVE: "geneve_tx", Mode.SNAT: "snat_tx"}[way]
        shown = [packet[name] for name in ("outer_kind", "outer_dest", "outer_backend")]
        assert (
            shown
            == {
                Mode.DSR: ["ipip", backend["address"], None],
                Mode.GENEVE: ["geneve", other, backend["address"]],
                Mode.SNAT: [None, None, None],
            }[way]
        )


def _backends(answer: dict[str, Any]) -> dict[str, str | None]:
    """Address, and that of the node to which packets for it are sent."""
    (frontend,) = (each for each in answer["vips"][0]["frontends"] if each["frontend"].endswith(":80/TCP"))
    return {each["address"]: each["node"] for each in frontend["backends"]}


def test_what_a_mode_counts_is_in_the_metrics(made: Cluster, mode: str) -> None:
    def counted(verdict: str) -> float:
        name = f'lockstep_datapath_packets_total{{verdict="{verdict}"}}'
        return sum(agent.metrics().get(name, 0.0) for agent in made.agents)

    verdicts = set[str]().union(*TCP_VERDICTS.values())
    before = {verdict: counted(verdict) for verdict in verdicts}
    assert send(made.lab.client, f"{VIP}:80", count=100).failed == 0
    moved = {verdict for verdict in verdicts if counted(verdict) > before[verdict]}
    assert moved == TCP_VERDICTS[LbMode(mode).of(Protocol.TCP)]
    assert [counted(verdict) for verdict in ("no_snat_port", "geneve_stray", "geneve_damaged")] == [0, 0, 0]
    for agent in made.agents:
        shown = agent.status()["datapath"]
        assert shown["lb_mode"] == (agent.arguments[1] if agent.arguments else "dsr")
        assert sum(shown["frontends_by_mode"].values()) == shown["frontends"]


def test_nothing_is_lost_while_agents_restart(made: Cluster, mode: str) -> None:
    with SteadyTraffic(made.lab.client, f"{VIP}:53", rate=100, protocol="udp") as load:
        for agent in made.agents:
            agent.terminate()
            agent.start()
            agent.await_announced(VIP, 30)
        traffic = load.stop()
    assert traffic.failed == 0, (mode, traffic.errors)
    assert traffic.ok > 50
