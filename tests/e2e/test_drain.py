"""Taking nodes out of service under traffic, and back."""

from __future__ import annotations

import json

import pytest

from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, frontends_in_kernel
from tests.lab import RibPath, SteadyTraffic, send, until
from tests.lab.agents import LOCKSTEP, NodeAgent

pytestmark = [pytest.mark.root, pytest.mark.lab]


def _path(running: Cluster, agent: NodeAgent) -> RibPath | None:
    """What the router heard from a node about the VIP."""
    paths = running.lab.router.rib().get(VIP_ROUTE, ())
    return next((path for path in paths if path.peer == agent.node.address), None)


def _marked(running: Cluster, agent: NodeAgent) -> RibPath | None:
    path = _path(running, agent)
    return path if path is not None and path.communities else None


def _states(running: Cluster) -> list[str]:
    return sorted(agent.vip(VIP)["state"] for agent in running.agents)


def _drain(running: Cluster, agent: NodeAgent, *arguments: str) -> None:
    done = agent.cli("drain", *arguments)
    assert done.returncode == 0, done.stderr


def test_a_rolling_drain_fails_no_new_connection(running: Cluster) -> None:
    """Each node in turn leaves and comes back. Control: the VIP is really away from the node while it is drained."""
    with SteadyTraffic(running.lab.client, f"{VIP}:80", rate=200) as steady:
        for agent in running.agents:
            others = {other.node.address for other in running.agents if other is not agent}
            _drain(running, agent, "--wait", "--timeout=60")
            assert running.next_hops == others
            seen = agent.vip(VIP)
            assert (seen["state"], seen["reason"]) == ("Withheld", "nodeDraining")
            assert agent.cli("undrain").returncode == 0
            running.await_vip()
        outcome = steady.stop()
    assert outcome.failed == 0, outcome
    assert outcome.ok > 500


def test_a_drain_marks_the_route_first_and_outlives_the_agent(running: Cluster) -> None:
    agent, other = running.agents
    # The mark stands for two seconds. They are not spent on the end of the command.
    asked = agent.node.popen([LOCKSTEP, "drain", f"--state-dir={agent.state_dir}"])
    marked = until(lambda: _marked(running, agent), "the router sees the mark", 30)
    assert marked is not None
    assert marked.communities == ("graceful-shutdown",)
    assert marked.local_pref == 0
    until(lambda: agent.vip(VIP)["state"] == "Draining", "the agent knows that the router has it")
    assert asked.wait(timeout=30) == 0
    agent.kill()
    agent.start()
    until(lambda: _path(running, agent) is None, "the route is withdrawn by the next agent")
    until(lambda: agent.status()["drain"]["state"] == "drained", "the drain is over", 30)
    assert {VIP} == {vip for vip, _ in frontends_in_kernel(agent)}, "its pods still get what the other node sends them"
    answers = send(running.lab.client, f"{VIP}:80", count=100)
    assert answers.failed == 0
    assert {"n1p1", "n1p2"} <= set(answers.backends)

    # The pods are evicted: then nothing of the VIP is left on the node.
    running.set_ready(lambda address: address.startswith("10.244.2."))
    until(lambda: not frontends_in_kernel(agent), "the node is clean", 30)
    running.set_ready(lambda address: True)
    assert agent.cli("undrain").returncode == 0
    running.await_vip()
    shown = json.loads(other.cli("status", "--json").stdout)["drain"]
    assert shown == {"requested": False, "state": "none", "by": [], "vips": [], "kept": []}


def test_when_all_nodes_are_cordoned_one_keeps_the_vip(running: Cluster) -> None:
    """The Node objects say that both are to leave; both come to the same answer about who stays."""

    def taint(manifest: dict[str, object]) -> None:
        manifest["spec"] = {**manifest.get("spec", {}), "taints": [{"key": "lockstep/drain", "effect": "NoSchedule"}]}  # type: ignore[dict-item]

    with SteadyTraffic(running.lab.client, f"{VIP}:80", rate=100) as steady:
        for agent in running.agents:
            running.edit(f"node-{agent.node.name}.yaml", taint)
        until(lambda: len(running.next_hops) == 1, "one node left", 20)
        until(lambda: _states(running) == ["Announced", "Withheld"], "it settles", 30)
        kept = [agent.status()["drain"]["kept"] for agent in running.agents]
        assert sorted(kept) == [[], [VIP]]
        assert len(running.next_hops) == 1
        outcome = steady.stop()
    assert outcome.failed == 0, outcome


def test_a_planned_exit_drains_first(running: Cluster) -> None:
    agent = running.agents[0]
    agent.terminate()
    agent.arguments = ("--drain-on-exit=30",)
    agent.start()
    agent.await_announced(VIP)
    with SteadyTraffic(running.lab.client, f"{VIP}:80", rate=100) as steady:
        assert agent.terminate() == 0
        assert running.next_hops == {running.agents[1].node.address}, "gone before the agent was"
        outcome = steady.stop()
    assert outcome.failed == 0, outcome
    agent.start()
    running.await_vip()
