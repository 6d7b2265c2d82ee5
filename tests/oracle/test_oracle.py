"""The oracle sees what it is there for: each of its verdicts has been seen to be both ways."""

from __future__ import annotations

import ast
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import VIP, Cluster, cluster, speaker_pid
from tests.e2e.damage import frozen
from tests.lab import until
from tests.lab.speaker import start_speaker
from tests.oracle import Oracle, PromiseBroken
from tests.oracle.oracle import FLOWS


def test_it_shares_nothing_with_the_product() -> None:
    tree = ast.parse(Path(__file__).with_name("oracle.py").read_text())
    names = {alias.name for found in ast.walk(tree) if isinstance(found, ast.Import) for alias in found.names}
    names |= {str(found.module) for found in ast.walk(tree) if isinstance(found, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


@pytest.mark.root
@pytest.mark.lab
def test_it_sees_what_breaks_the_promise() -> None:
    with cluster() as made:
        made.start()
        _well(made)
        _lost_and_moved(made)
        _judges_by_itself(made)
        _gone(made)
    with cluster() as bare:
        _foreign(bare)


def _well(made: Cluster) -> None:
    with Oracle(made.lab, VIP, always_routed=True, same_sessions=True) as oracle:
        _watch(oracle)
        seen = oracle.stop()
    assert seen.answered == seen.sent > 0
    assert oracle.broken(seen) == []


def _watch(oracle: Oracle) -> None:
    """So long that every flow was asked twice: each look opens one, until there are all, and then asks one."""
    until(lambda: oracle.look().looks > 2 * FLOWS, "every flow has been asked", 30)


def _lost_and_moved(made: Cluster) -> None:
    """A server that is dead though it is announced as ready: what is sent to it is lost. That is no fault of ours."""
    pod = made.lab.pods[0]
    with Oracle(made.lab, VIP) as oracle:
        made.lab.stop_pod(pod)
        until(lambda: oracle.look().lost, "a datagram to it is lost", 30)
        seen = oracle.stop()
    assert any(found.startswith("I1") for found in oracle.broken(seen)), seen
    made.lab.start_pod(pod)
    with Oracle(made.lab, VIP) as oracle:
        _watch(oracle)
        made.set_ready(lambda address: address == pod.address)
        made.await_serving(1)
        until(lambda: oracle.look().moved, "a flow has moved", 30)
        seen = oracle.stop()
    assert any(found.startswith("I4") for found in oracle.broken(seen)), seen
    made.set_ready(lambda address: True)
    made.await_serving(4)


def _judges_by_itself(made: Cluster) -> None:
    with pytest.raises(PromiseBroken, match="I1: 9 of 10"), Oracle(made.lab, VIP) as oracle:
        oracle.broken = lambda seen: ["I1: 9 of 10"]  # type: ignore[method-assign]


def _gone(made: Cluster) -> None:
    """Both speakers are killed: without graceful restart the router drops every route with the sessions."""
    with Oracle(made.lab, VIP, always_routed=True, same_sessions=True) as oracle:
        with frozen(*made.agents):  # they would have other ones before anybody has looked
            for agent in made.agents:
                os.kill(speaker_pid(agent), signal.SIGKILL)
            until(lambda: (seen := oracle.look()).without_route and seen.session_changes, "all of it is gone", 30)
        made.await_vip()
        seen = oracle.stop()
    found = oracle.broken(seen)
    assert any(one.startswith("I5") for one in found), seen
    assert any(one.startswith("I6") for one in found), seen


def _foreign(bare: Cluster) -> None:
    with Oracle(bare.lab, VIP) as oracle:
        process = start_speaker(bare.lab, bare.lab.nodes[0], {"198.18.0.0/24": ""})
        until(lambda: oracle.look().foreign, "the router has it", 20)
        end_look = oracle.stop()
        process.kill()
    assert oracle.broken(end_look) == ["I9: the router learned 198.18.0.0/24"]
