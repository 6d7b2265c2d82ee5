"""Fault 15: somebody sets the clock of a node, by an hour, while everything runs.

CLOCK_REALTIME belongs to the whole machine. libfaketime stands between one node's processes (agent, speaker, ExaBGP,
its helper) and their C library, and adds what a file says; CLOCK_MONOTONIC stays what it is, as for a real node.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import VIP, Cluster, cluster
from tests.e2e.damage import OF_THE_DATAPATH
from tests.lab import FibPoll, LabError, until
from tests.lab.agents import NodeAgent
from tests.lab.release import Edit, build_release
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]

HOLD_SECONDS = 6  # a KEEPALIVE every two
DETACHED = next(damage for damage in OF_THE_DATAPATH if damage.name == "ingress-detached")
#: What keeps ExaBGP from measuring its timers with the time of day.
_BY_THE_TIME_OF_DAY = (Edit("bgpd/child.py", "    run_on_monotonic_time()\n", ""),)


class Clock:
    """The time of day of one node."""

    def __init__(self, agent: NodeAgent) -> None:
        """It is right until :meth:`set`. The agent must not have been started yet."""
        self._file = agent.node.folder / "clock"
        self.set(0)
        agent.environment = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def set(self, seconds: int) -> None:
        """So far from what is right."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.replace(self._file)


def _library() -> Path:
    found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if found is None:
        raise LabError("libfaketime is not installed: make setup")
    return found


@pytest.fixture
def prepared() -> Iterator[tuple[Cluster, Clock]]:
    """Sessions with a short hold time, nothing started, and the clock of n1."""
    with cluster() as made:
        for agent in made.agents:
            config = (agent.source / "bgp-config.yaml").read_text()
            wanted = config.replace("my-asn: 64512", f"my-asn: 64512\n        hold-time: {HOLD_SECONDS}s")
            assert wanted != config
            made.write(agent, "bgp-config.yaml", wanted)
        yield made, Clock(made.agents[0])


def _sessions(agent: NodeAgent) -> int:
    """How many there were, by the agent's count."""
    peers = agent.status().get("peers")
    return int(peers[0]["sessions"]) if peers else 0


def _steps(agent: NodeAgent) -> float:
    return agent.metrics().get("lockstep_clock_steps_total", 0.0)


@pytest.mark.parametrize("step", [3600, -3600], ids=["forwards", "backwards"])
def test_a_node_whose_clock_is_set_keeps_sessions_traffic_and_judgement(
    prepared: tuple[Cluster, Clock], step: int
) -> None:
    running, clock = prepared
    running.start()
    agent = running.agents[0]
    assert _steps(agent) == 0
    with Oracle(running.lab, VIP, always_routed=True, same_sessions=True, same_servers=False):
        clock.set(step)
        until(lambda: _steps(agent) == 1, "the step is counted")
        enough = time.monotonic() + 1.5 * HOLD_SECONDS
        until(lambda: time.monotonic() > enough, "a hold time and a half", 2 * HOLD_SECONDS)
        for serving in (3, 4):
            running.set_ready(lambda address, serving=serving: serving == 4 or address != "10.244.1.11")  # type: ignore[misc]
            running.await_serving(serving)
        assert agent.vip(VIP)["state"] == "Announced"
    assert (_sessions(agent), _steps(agent)) == (1, 1)
    assert "lockstep_bgp_engine_restarts_total" not in "".join(agent.metrics())
    # It goes on looking: none of its own deadlines went with the clock.
    repairs = DETACHED.counter
    DETACHED.act(running)
    until(lambda: agent.metrics().get(repairs, 0.0) == 1, "what somebody takes away is noticed")
    running.await_vip()


@pytest.mark.parametrize("step", [3600, -3600], ids=["forwards", "backwards"])
def test_control_with_the_time_of_day_the_session_goes_with_the_clock(
    prepared: tuple[Cluster, Clock], step: int
) -> None:
    running, clock = prepared
    agent = running.agents[0]
    agent.release = build_release(running.lab.folder / "other", _BY_THE_TIME_OF_DAY)
    running.start()
    with FibPoll(running.lab.router, agent.node.pod_cidr) as poll:
        clock.set(step)
        until(lambda: poll.look().missing, "the router has lost the routes of n1", 10 * HOLD_SECONDS)
