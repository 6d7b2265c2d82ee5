"""Fault 20: a node that lacks something (room on the disk, descriptors, memory, names) is degraded and not wrong."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import VIP, Cluster, cluster, speaker_pid
from tests.e2e.damage import detach_ingress
from tests.lab import send, until
from tests.lab.agents import NodeAgent
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]

_MANY = 3000
_ONE_OF_MANY = (
    "{{apiVersion: v1, kind: Service, metadata: {{name: s{}, namespace: default}}, spec: {{ports: [{{port: 80}}]}}}}"
)
_SPARE_BYTES = 1 << 20
#: Which of them depends on what is asked for first: an object, or the stack of a thread.
_NO_MEMORY = ("MemoryError", "can't start new thread")
_COUNTER = """
table inet names {
    chain output {
        type filter hook output priority 0
        meta l4proto { tcp, udp } th dport 53 counter
    }
}
"""
_LOOK_UP = "import socket; socket.getaddrinfo('router.example.com', 179)"


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


@contextmanager
def _limit(pid: int, what: int, soft: int) -> Iterator[None]:
    """setrlimit(2) for another process: its soft limit, and back."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    yield
    resource.prlimit(pid, what, before)


def test_a_node_without_descriptors_withdraws_what_it_cannot_prove_and_comes_back(running: Cluster) -> None:
    """Not one more can be opened, so a program that somebody detached cannot be attached again.

    That the VIP was withdrawn is the control: the limit is felt.
    """
    agent, other = running.agents
    with _limit(agent.pid, resource.RLIMIT_NOFILE, 3):
        detach_ingress(agent)
        until(lambda: running.next_hops == {other.node.address}, "n1 has withdrawn the VIP", 20)
        running.set_ready(lambda address: address != "10.244.1.11")
    running.await_serving(3)
    running.await_vip()
    assert agent.status()["peers"][0]["sessions"] == 1
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0


def _private_bytes(pid: int) -> int:
    """What RLIMIT_DATA bounds (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData"))


@pytest.mark.parametrize("limited", [True, False], ids=["limited", "control: not limited"])
def test_an_agent_without_memory_ends_and_takes_nothing_with_it(running: Cluster, limited: bool) -> None:
    """It is given more Services than it has room for. Control: with room it takes them, and goes on."""
    agent = running.agents[0]
    many = "\n---\n".join(_ONE_OF_MANY.format(number) for number in range(_MANY))
    with Oracle(running.lab, VIP, always_routed=True, same_sessions=True):
        if limited:
            resource.prlimit(agent.pid, resource.RLIMIT_DATA, (_private_bytes(agent.pid) + _SPARE_BYTES, -1))
        running.write(agent, "many.yaml", many)
        if limited:
            assert agent.wait() != 0
            assert any(words in agent.log.read_text() for words in _NO_MEMORY)
            agent.start()
        until(lambda: _knows(agent), "it knows the Services", 30)
        agent.await_announced(VIP)
        until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven")
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0


def _knows(agent: NodeAgent) -> bool:
    return bool(agent.explain(f"default/s{_MANY - 1}").get("service"))


def test_names_are_never_looked_up(running: Cluster) -> None:
    """From a start to a drain: nothing here waits for a resolver. Control: a look-up is counted."""
    agent = running.agents[0]
    agent.node.run(["nft", "--file", "-"], input=_COUNTER)
    agent.terminate()
    os.kill(speaker_pid(agent), signal.SIGTERM)
    until(lambda: len(running.next_hops) == 1, "n1 is gone")
    agent.start()
    running.await_vip()
    running.set_ready(lambda address: address != "10.244.1.11")
    running.await_serving(3)
    assert agent.cli("drain", "--wait").returncode == 0
    assert _counted(agent) == 0
    agent.node.run([sys.executable, "-I", "-c", _LOOK_UP], check=False)
    assert _counted(agent) > 0


def _counted(agent: NodeAgent) -> int:
    shown = agent.node.run(["nft", "list", "table", "inet", "names"]).stdout.split()
    return int(shown[shown.index("packets") + 1])


def _fill(filler: Any) -> None:
    try:
        while True:
            filler.write(b"\0" * 4096)
    except OSError:
        return


def _end(agent: NodeAgent) -> None:
    agent.kill()
    os.kill(speaker_pid(agent), signal.SIGKILL)
