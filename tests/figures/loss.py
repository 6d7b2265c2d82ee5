"""Packets and connections lost when parts of the product end, each with what the same costs without the remedy."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.report import Row
from tests.e2e.cluster import VIP, Cluster, cluster, exabgp_pid, speaker_pid
from tests.figures.client import Blast, Blasted
from tests.figures.rows import counted
from tests.lab import until
from tests.lab.agents import LOCKSTEP, NodeAgent
from tests.lab.release import OTHER_PROGRAMS, build_release

#: What goes wrong after a restart may take a moment.
_AFTERWARDS_SECONDS = 5.0
_FROZEN_SECONDS = 60.0


def loss_rows() -> list[Row]:
    """Kill and upgrade of the agent and of its programs, kill of the speaker with and without graceful restart."""
    with cluster() as made:
        made.start()
        other = build_release(made.lab.folder / "other", OTHER_PROGRAMS)
        runs = {
            "agent-kill-9": _under_load(made, _kill_agent),
            "agent-upgrade": _under_load(made, _replace_agent),
            "programs-upgrade": _under_load(made, lambda made: _replace_programs(made, other)),
            "agent-sigstop-60-s": _under_load(made, _freeze(lambda agent: agent.pid)),
            "speaker-sigstop-60-s": _under_load(made, _freeze(speaker_pid)),
        }
        bare = _under_load(made, _take_programs_away)
        without = _under_load(made, _kill_speaker)
        made.enable_graceful_restart()
        runs["speaker-kill-9-graceful-restart"] = _under_load(made, _kill_speaker)
        runs["exabgp-sigstop-60-s-graceful-restart"] = _under_load(made, _freeze(exabgp_pid))
        runs["agent-and-speaker-kill-9-graceful-restart"] = _under_load(made, _kill_both)
    speaker = f"kill -9 of the speaker without graceful restart: {without.lost} of {without.sent} lost"
    programs = f"the old programs taken away before the new ones come: {bare.lost} of {bare.sent} lost"
    controls = dict.fromkeys(runs, speaker) | {"programs-upgrade": programs}
    packets = [
        counted(f"loss/{name}/packets-at-1000-a-second", run.lost, run.sent, control=controls[name])
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


def _replace_programs(made: Cluster, other: Path) -> None:
    """To a release whose programs differ, on every node, and back."""
    for release in (other, None):
        for agent in made.agents:
            agent.release = release
            agent.terminate()
            agent.start()
            agent.await_announced(VIP)


def _freeze(whom: Callable[[NodeAgent], int]) -> Callable[[Cluster], None]:
    """Stop a process of the first node for a minute. It may have been replaced when that is over."""

    def fault(made: Cluster) -> None:
        agent = made.agents[0]
        pid = whom(agent)
        os.kill(pid, signal.SIGSTOP)
        thaw = time.monotonic() + _FROZEN_SECONDS
        until(lambda: time.monotonic() > thaw, "it was frozen for a minute", _FROZEN_SECONDS + 10)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        agent.await_announced(VIP)

    return fault


def _take_programs_away(made: Cluster) -> None:
    agent = made.agents[0]
    agent.terminate()
    agent.node.run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"])
    agent.start()
    agent.await_announced(VIP)


def _kill_both(made: Cluster) -> None:
    agent = made.agents[0]
    speaker = speaker_pid(agent)
    agent.kill()
    os.kill(speaker, signal.SIGKILL)
    agent.start()
    agent.await_announced(VIP)


def _kill_speaker(made: Cluster) -> None:
    agent = made.agents[0]
    killed = speaker_pid(agent)
    os.kill(killed, signal.SIGKILL)
    until(lambda: agent.vip(VIP).get("state") != "Announced", "the agent knows", 20)
