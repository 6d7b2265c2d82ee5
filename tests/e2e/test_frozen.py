"""Processes that stand still without having ended: the agent in ``test_faults``, the speaker and ExaBGP here.

Each test lasts as long as it takes the product to act; the full minute is in the figures (``tests/figures/loss.py``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgpd import wire
from tests.bgpd.capture import Capture
from tests.e2e.cluster import VIP, Cluster, cluster, exabgp_pid, speaker_pid
from tests.lab import FibPoll, RouteJournal, until
from tests.lab.agents import NodeAgent
from tests.lab.release import Edit, build_release
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]

#: What it takes to hang on a signal, see there.
_HANGS = Path(__file__).resolve().parents[1] / "bgpd" / "hang"
_NOT_RESUMED = (Edit("bgpd/liveness.py", 'if found.state == "T":', "if False:"),)


_WOKEN = 'lockstep_repairs_total{kind="speaker"}'


def test_a_speaker_that_is_stopped_costs_no_packet_no_message_and_is_told_to_go_on(running: Cluster) -> None:
    """ExaBGP keeps the sessions. Control: a speaker that is killed, in ``test_faults``."""
    agent, router = running.agents[0], running.lab.router
    pid = speaker_pid(agent)
    capture = Capture(router, agent.node.name, router.folder / "bgp.pcap")
    with Oracle(running.lab, VIP, always_routed=True, same_sessions=True):
        os.kill(pid, signal.SIGSTOP)
        until(lambda: agent.metrics().get(_WOKEN), "the agent has noticed it, and told it to go on", 30)
        until(lambda: agent.status().get("speaker", {}).get("reachable"), "it answers again", 30)
        agent.await_announced(VIP)
    assert {message.kind for message in capture.stop()} <= {wire.KEEPALIVE}
    assert speaker_pid(agent) == pid
    assert agent.status()["peers"][0]["sessions"] == 1


def test_an_exabgp_that_is_stopped_is_told_to_go_on_and_costs_nothing(running: Cluster) -> None:
    """Without graceful restart, too."""
    agent = running.agents[0]
    stopped = exabgp_pid(agent)
    with Oracle(running.lab, VIP, always_routed=True, same_sessions=True):
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: agent.metrics()["lockstep_bgp_engine_resumptions_total"], "it was told to go on")
    # It carries out what it is told.
    running.set_ready(lambda _: False)
    running.await_no_vip()
    running.set_ready(lambda _: True)
    running.await_vip()
    assert (exabgp_pid(agent), agent.status()["peers"][0]["sessions"]) == (stopped, 1)


def _replaced(agent: NodeAgent, number: signal.Signals) -> None:
    """Until it was replaced, which is long before the hold time (90 s) would end the session."""
    before = exabgp_pid(agent)
    os.kill(before, number)
    until(lambda: exabgp_pid(agent) != before, "ExaBGP was replaced", 60)
    agent.await_announced(VIP)


def test_control_one_that_is_not_told_to_go_on_is_replaced_and_its_routes_go() -> None:
    with cluster() as made:
        agent = made.agents[0]
        agent.release = build_release(made.lab.folder / "other", _NOT_RESUMED)
        made.start()
        with FibPoll(made.lab.router, agent.node.pod_cidr) as poll:
            _replaced(agent, signal.SIGSTOP)
            until(lambda: poll.look().missing, "the router has lost its routes")


@pytest.fixture
def hanging() -> Iterator[Cluster]:
    """A running cluster whose ExaBGP on n1 hangs at a SIGWINCH."""
    with cluster() as made:
        made.agents[0].environment = {"PYTHONPATH": str(_HANGS)}
        made.start()
        yield made


def test_an_exabgp_that_hangs_is_replaced_and_with_graceful_restart_costs_nothing(hanging: Cluster) -> None:
    hanging.enable_graceful_restart()
    agent = hanging.agents[0]
    with (
        Oracle(hanging.lab, VIP, always_routed=True),
        RouteJournal(hanging.lab.router) as journal,
        FibPoll(hanging.lab.router, agent.node.pod_cidr) as poll,
    ):
        _replaced(agent, signal.SIGWINCH)
        hanging.await_vip()
        seen = poll.stop()
        assert journal.deleted(agent.node.pod_cidr) == []
    assert seen.missing == 0, seen
    assert agent.metrics()['lockstep_bgp_engine_restarts_total{cause="stalled"}'] == 1


def test_control_without_graceful_restart_the_routes_go_with_the_exabgp_that_hangs(hanging: Cluster) -> None:
    agent = hanging.agents[0]
    with RouteJournal(hanging.lab.router) as journal:
        _replaced(agent, signal.SIGWINCH)
        hanging.await_vip()
        assert journal.deleted(agent.node.pod_cidr)
