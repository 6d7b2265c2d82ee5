"""Fault 21: endpoints come and go as fast as files can be written, and it is no matter for BGP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster
from tests.lab import RouteJournal, send, until
from tests.lab.agents import NodeAgent
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]

_RESTLESS = "10.244.1.11"
_EDITS = 200
_SEEN = 40
#: What a process may gain over as many edits as it has already had: noise of the allocator, not one round's worth each.
_GROWTH_KIB = 8_000
_UPDATES = 'lockstep_bgp_updates_total{peer="192.168.1.11"}'
_PROGRAMMED = "lockstep_program_latency_seconds_count"


def _rss(pid: int) -> int:
    """Resident memory in KiB (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _churn(made: Cluster, others: bool) -> None:
    """One endpoint is ready and not, by turns, and at the end it is; ``others``: whether all the others are.

    An agent does not see every state of a folder that never rests; if the others are ready, some are waited for.
    """
    for edit in range(_EDITS):
        odd = edit % 2 == 0
        made.set_ready(lambda address, odd=odd: not odd if address == _RESTLESS else others)  # type: ignore[misc]
        if others and edit % _SEEN == 0:
            made.await_serving(3)


def _growth(agent: NodeAgent, work: Callable[[], None]) -> int:
    before = _rss(agent.pid)
    work()
    return _rss(agent.pid) - before


def test_churn_of_endpoints_does_not_reach_the_routers(running: Cluster) -> None:
    """Nor the clients, nor does it fill memory. Control: the same churn of the only endpoint, below."""
    agent = running.agents[0]
    running.await_serving(4)
    updates, programmed = agent.metrics()[_UPDATES], agent.metrics()[_PROGRAMMED]
    with (
        RouteJournal(running.lab.router) as journal,
        Oracle(running.lab, VIP, always_routed=True, same_sessions=True, same_servers=False),
    ):
        _churn(running, others=True)
        assert _growth(agent, lambda: _churn(running, others=True)) < _GROWTH_KIB
        running.await_serving(4)
        assert journal.changes(VIP_ROUTE) == []
    assert agent.metrics()[_UPDATES] == updates
    until(lambda: agent.metrics()[_PROGRAMMED] > programmed, "it reached the kernel")
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0


def test_control_churn_of_the_only_endpoint_is_seen_at_the_routers(running: Cluster) -> None:
    """And is damped by nothing but the time that a withdrawal takes; in the end the VIP is there."""
    running.set_ready(lambda address: address == _RESTLESS)
    running.await_serving(1)
    with RouteJournal(running.lab.router) as journal:
        running.set_ready(lambda _: False)
        until(lambda: journal.changes(VIP_ROUTE), "the routers hear of it")
        _churn(running, others=False)
    running.await_vip()
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0
