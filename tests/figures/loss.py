"""Packets and connections lost when parts of the product end, each with what the same costs without the remedy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.bench.report import Row
from tests.e2e.cluster import VIP, Cluster, cluster, speaker_pid
from tests.figures.client import Blast, Blasted
from tests.figures.rows import counted
from tests.lab import until

#: What goes wrong after a restart may take a moment.
_AFTERWARDS_SECONDS = 5.0


def loss_rows() -> list[Row]:
    """Kill and upgrade of the agent, kill of the speaker with and without graceful restart."""
    with cluster() as made:
        made.start()
        killed = _under_load(made, _kill_agent)
        upgraded = _under_load(made, _replace_agent)
        without = _under_load(made, _kill_speaker)
        _with_graceful_restart(made)
        graceful = _under_load(made, _kill_speaker)
    control = f"kill -9 of the speaker without graceful restart: {without.lost} of {without.sent} lost"
    runs = {"agent-kill-9": killed, "agent-upgrade": upgraded, "speaker-kill-9-graceful-restart": graceful}
    packets = [
        counted(f"loss/{name}/packets-at-1000-a-second", run.lost, run.sent, control=control)
        for name, run in runs.items()
    ]
    connections = [
        counted(f"loss/{name}/tcp-connections-broken", run.broken, run.connections, control=None)
        for name, run in runs.items()
    ]
    return packets + connections


def _under_load(made: Cluster, fault: Callable[[Cluster], None]) -> Blasted:
    with Blast(made.lab.client, VIP) as blast:
        fault(made)
        made.await_vip()
        end = time.monotonic() + _AFTERWARDS_SECONDS
        until(lambda: time.monotonic() > end, "some time has passed", 60)
        return blast.stop()


def _kill_agent(made: Cluster) -> None:
    agent = made.agents[0]
    agent.kill()
    agent.start()
    agent.await_announced(VIP)


def _replace_agent(made: Cluster) -> None:
    agent = made.agents[0]
    agent.terminate()
    agent.start()
    agent.await_announced(VIP)


def _kill_speaker(made: Cluster) -> None:
    agent = made.agents[0]
    killed = speaker_pid(agent)
    os.kill(killed, signal.SIGKILL)
    until(lambda: agent.vip(VIP).get("state") != "Announced", "the agent knows", 20)


def _with_graceful_restart(made: Cluster) -> None:
    for agent in made.agents:
        sessions = agent.status()["peers"][0]["sessions"]
        good = (agent.source / "bgp-config.yaml").read_text()
        changed = good.replace("my-asn: 64512", "my-asn: 64512\n        graceful-restart: {time: 60s}")
        made.write(agent, "bgp-config.yaml", changed)
        until(lambda: agent.status()["peers"][0]["sessions"] > sessions, "the session was reset", 30)  # noqa: B023
    made.await_vip()
