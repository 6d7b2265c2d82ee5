"""Processes that stand still without having ended: the agent in ``test_faults``, the speaker and ExaBGP here.

Nothing tells from outside how long it will last, so each test lasts as long as it takes the product to act; the full
minute is in the figures (``tests/figures/loss.py``).
"""

from __future__ import annotations

import os
import signal

import pytest

from bgpd import wire
from tests.bgpd.capture import Capture
from tests.e2e.cluster import VIP, Cluster, exabgp_pid, speaker_pid
from tests.lab import FibPoll, RouteJournal, until
from tests.lab.agents import NodeAgent
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]


def _speaker_answers(agent: NodeAgent) -> bool:
    return bool(agent.status().get("speaker", {}).get("reachable"))


def test_a_frozen_speaker_costs_no_packet_no_message_and_is_noticed(running: Cluster) -> None:
    """ExaBGP keeps the sessions. Control: a speaker that is killed, in ``test_faults``."""
    agent, router = running.agents[0], running.lab.router
    pid = speaker_pid(agent)
    capture = Capture(router.netns, agent.node.name, router.folder / "bgp.pcap")
    with Oracle(running.lab, VIP, always_routed=True, same_sessions=True):
        os.kill(pid, signal.SIGSTOP)
        until(lambda: not _speaker_answers(agent), "the agent says that the speaker does not answer", 30)
        os.kill(pid, signal.SIGCONT)
        until(lambda: _speaker_answers(agent), "it answers again", 30)
        agent.await_announced(VIP)
    assert {message.kind for message in capture.stop()} <= {wire.KEEPALIVE}
    assert speaker_pid(agent) == pid
    assert agent.status()["peers"][0]["sessions"] == 1


def _freeze_exabgp(agent: NodeAgent) -> None:
    """Until it was replaced, which is long before the hold time (90 s) would end the session."""
    stopped = exabgp_pid(agent)
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: exabgp_pid(agent) != stopped, "ExaBGP was replaced", 60)
    agent.await_announced(VIP)


def test_a_frozen_exabgp_is_replaced_and_with_graceful_restart_costs_nothing(running: Cluster) -> None:
    running.enable_graceful_restart()
    agent = running.agents[0]
    with (
        Oracle(running.lab, VIP, always_routed=True),
        FibPoll(running.lab.router, agent.node.pod_cidr) as poll,
    ):
        _freeze_exabgp(agent)
        running.await_vip()
        seen = poll.stop()
    assert seen.missing == 0, seen
    assert agent.metrics()['lockstep_bgp_engine_restarts_total{cause="stalled"}'] == 1


def test_control_without_graceful_restart_the_routes_go_with_the_frozen_exabgp(running: Cluster) -> None:
    agent = running.agents[0]
    with RouteJournal(running.lab.router) as journal:
        _freeze_exabgp(agent)
        running.await_vip()
        assert "deleted" in [change.action for change in journal.changes(agent.node.pod_cidr)]
