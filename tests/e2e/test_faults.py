"""Faults that have no other home, each with the oracle at the router; the whole list is docs/failure-modes.md."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.e2e.cluster import VIP, Cluster, speaker_pid
from tests.e2e.damage import frozen
from tests.lab import send, until
from tests.lab.agents import LOCKSTEP
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]


def _local(manifest: dict[str, Any]) -> None:
    manifest["spec"]["externalTrafficPolicy"] = "Local"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_an_agent_that_ends_or_freezes_costs_no_packet(shared: Cluster, number: signal.Signals) -> None:
    """Fault 1. Control: ``test_killing_the_speaker_as_well_is_seen_by_the_oracle``."""
    agent = shared.agents[0]
    with Oracle(shared.lab, VIP, always_routed=True, same_sessions=True):
        os.kill(agent.pid, number)
        if number is signal.SIGSTOP:
            until(lambda: agent.status() == {}, "it does not answer", 20)
            os.kill(agent.pid, signal.SIGCONT)
        else:
            agent.wait()
            agent.start()
        agent.await_announced(VIP)
        until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven again")


def test_killing_the_speaker_as_well_is_seen_by_the_oracle(running: Cluster) -> None:
    """The control: without the part that keeps the sessions they end, and the oracle says so."""
    with Oracle(running.lab, VIP, same_sessions=True) as oracle:
        with frozen(running.agents[0]):
            os.kill(speaker_pid(running.agents[0]), signal.SIGKILL)
            until(lambda: len(running.next_hops) == 1, "the router lost n1")
        running.await_vip()
        seen = oracle.stop()
    assert any(found.startswith("I6") for found in oracle.broken(seen)), seen


def test_a_node_that_reboots_announces_nothing_that_it_does_not_serve(running: Cluster) -> None:
    """Fault 3: agent, speaker, pins and programs are gone. Traffic stays on the node that it came to."""
    agent, other = running.agents
    running.edit("service-web.yaml", _local)
    running.await_serving(2)
    until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "proven with local backends")
    with Oracle(running.lab, VIP, always_routed=True, same_servers=False) as oracle:
        agent.terminate()
        os.kill(speaker_pid(agent), signal.SIGTERM)
        until(lambda: running.next_hops == {other.node.address}, "withdrawn")
        agent.node.run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"])
        agent.start()
        running.await_vip()
        seen = oracle.stop()
    assert oracle.broken(seen) == []
    assert seen.answered > 50


def test_a_link_that_flaps_makes_no_storm(running: Cluster) -> None:
    """Fault 7: ten times down and up. Sessions are kept, and hardly an UPDATE is sent."""
    agent = running.agents[0]
    name = 'lockstep_bgp_updates_total{peer="192.168.1.11"}'
    before = agent.metrics()[name]
    gateway = agent.node.run(["ip", "route", "show", "default"]).stdout.split()
    for _ in range(10):
        agent.node.run(["ip", "link", "set", "dev", "eth0", "down"])
        agent.node.run(["ip", "link", "set", "dev", "eth0", "up"])
    agent.node.run(["ip", "route", "replace", *gateway])  # the kernel drops it with the link; a real node has a daemon
    until(lambda: all(d["attached"] for d in agent.status()["datapath"]["devices"]), "attached", 20)
    running.await_vip()
    until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven", 20)
    assert agent.status()["peers"][0]["sessions"] == 1
    assert agent.metrics()[name] - before <= 20
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0
