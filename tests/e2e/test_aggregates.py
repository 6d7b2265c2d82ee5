"""An aggregate at the routers: announced while something in it is served, and its unused addresses lead nowhere."""

from __future__ import annotations

import json
import subprocess

import pytest

from bgpd.wire import UPDATE, parse_update
from tests.bgpd.capture import Capture
from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, Manifest
from tests.lab import RouteJournal, SteadyTraffic, send, until
from tests.lab.agents import NodeAgent

pytestmark = [pytest.mark.root, pytest.mark.lab]

AGGREGATE = "203.0.113.8/29"
UNUSED = "203.0.113.14"


def _set_length(running: Cluster, length: int) -> None:
    def change(manifest: Manifest) -> None:
        before = manifest["data"]["config.yaml"].partition("    bgp-advertisements:")[0].rstrip()
        manifest["data"]["config.yaml"] = before + f"\n    bgp-advertisements: [{{aggregation-length: {length}}}]\n"

    running.edit("bgp-config.yaml", change)


def _guards(agent: NodeAgent) -> int:
    """How many prefixes the kernel guards, read with bpftool: none of our own code is involved."""
    path = agent.node.bpffs / "maps" / "lb_guards"
    done = subprocess.run(["bpftool", "--json", "map", "dump", "pinned", str(path)], capture_output=True, check=True)
    return len(json.loads(done.stdout))


def test_an_aggregate_replaces_the_host_route_is_guarded_and_goes_with_its_last_vip(running: Cluster) -> None:
    nodes = frozenset(node.address for node in running.lab.nodes)

    def hops(prefix: str) -> frozenset[str]:
        return running.lab.router.fib().get(prefix, frozenset())

    router = running.lab.router
    captures = [Capture(router, agent.node.name, router.folder / f"{agent.node.name}.pcap") for agent in running.agents]
    with (
        SteadyTraffic(running.lab.client, f"{VIP}:80", rate=100) as steady,
        RouteJournal(running.lab.router) as journal,
    ):
        _set_length(running, 29)
        until(lambda: hops(AGGREGATE) == nodes and not hops(VIP_ROUTE), "the aggregate stands instead of the VIP", 20)
        outcome = steady.stop()
        came = next(c.time for c in journal.changes(AGGREGATE) if c.action != "deleted")
        went = next(c.time for c in journal.changes(VIP_ROUTE) if c.action == "deleted")
        assert came < went, "make before break"
    for capture in captures:
        updates = [parse_update(message.body) for message in capture.stop() if message.kind == UPDATE]
        told = [(list(map(str, update.announced)), list(map(str, update.withdrawn))) for update in updates]
        assert told == [([AGGREGATE], []), ([], [VIP_ROUTE])], "in this order on the wire of each node"
    assert outcome.failed == 0, outcome
    assert [_guards(agent) for agent in running.agents] == [1, 1]

    def unassigned() -> int:
        return sum(agent.status()["datapath"]["packets"]["unassigned"] for agent in running.agents)

    before = unassigned()
    assert send(running.lab.client, f"{UNUSED}:9", count=5, protocol="udp", timeout=0.3).failed == 5
    until(lambda: unassigned() - before >= 5, "five packets counted as unassigned")
    assert unassigned() - before == 5, "each of them once: none goes back to the router"
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0

    running.set_ready(lambda _: False)
    until(lambda: not hops(AGGREGATE), "the aggregate is gone with the last VIP in it")
    for agent in running.agents:
        until(lambda agent=agent: _guards(agent) == 0, "the guard is gone")  # type: ignore[misc]
    assert all(agent.status()["consistency"]["violations"] == 0 for agent in running.agents)


def test_the_agent_comes_back_to_an_aggregate_and_nothing_moves(running: Cluster) -> None:
    _set_length(running, 29)
    until(lambda: AGGREGATE in running.lab.router.fib() and not running.next_hops, "the router has the aggregate", 20)
    agent = running.agents[0]
    with RouteJournal(running.lab.router) as journal:
        agent.kill()
        assert _guards(agent) == 1, "what is announced stays guarded"
        agent.start()
        agent.await_announced(VIP)
        assert journal.changes() == []
    assert _guards(agent) == 1
