"""Faults that have no other home, each with the oracle at the router; the whole list is docs/failure-modes.md."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import VIP, Cluster, cluster, speaker_pid
from tests.lab import RouteJournal, send, until
from tests.lab.agents import LOCKSTEP, NodeAgent
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


def _rss(pid: int) -> int:
    """Resident memory in KiB (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_churn_of_endpoints_does_not_reach_the_routers(running: Cluster) -> None:
    """Fault 21, in small: a backend comes and goes as fast as files can be written."""
    agent = running.agents[0]
    running.await_serving(4)
    before = _rss(agent.pid)
    # What is on its way to a backend that one node has dropped and another not yet is lost, so answers are not judged.
    with RouteJournal(running.lab.router) as journal, Oracle(running.lab, VIP) as oracle:
        for odd in [False, True] * 100:
            running.set_ready(lambda address, odd=odd: not (odd and address == "10.244.1.11"))  # type: ignore[misc]
        running.set_ready(lambda address: True)
        running.await_serving(4)
        assert journal.changes(f"{VIP}/32") == []
        assert oracle.stop().without_route == 0
    assert _rss(agent.pid) - before < 40_000


def test_a_full_disk_and_few_descriptors_leave_it_degraded_not_wrong() -> None:
    """Fault 20: the state folder has no room left, and the agent may open no further file."""
    with cluster() as made:
        agent = made.agents[0]
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", agent.state_dir], check=True)
        try:
            agent.arguments = (f"--record={agent.state_dir / 'record'}",)
            made.start()
            with Oracle(made.lab, VIP, always_routed=True, same_sessions=True, same_servers=False):
                with (agent.state_dir / "filler").open("wb", buffering=0) as filler:
                    _fill(filler)
                agent.node.run(["prlimit", f"--pid={agent.pid}", "--nofile=48:48"])
                made.set_ready(lambda address: address != "10.244.1.11")
                made.await_serving(3)
                assert agent.vip(VIP)["state"] == "Announced"
            assert "the recording ends" in agent.log.read_text()
        finally:
            _end(agent)
            subprocess.run(["umount", "--lazy", agent.state_dir], check=True)


def _fill(filler: Any) -> None:
    try:
        while True:
            filler.write(b"\0" * 4096)
    except OSError:
        return


def _end(agent: NodeAgent) -> None:
    agent.kill()
    os.kill(speaker_pid(agent), signal.SIGKILL)
