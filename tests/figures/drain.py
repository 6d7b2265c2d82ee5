"""New connections while both nodes are drained in turn; the control takes one away without a drain."""

from __future__ import annotations

import os
import signal

from tests.bench.report import Row
from tests.e2e.cluster import VIP, Cluster, cluster, speaker_pid
from tests.figures.rows import counted
from tests.lab import SteadyTraffic, Traffic, until
from tests.lab.agents import LOCKSTEP

RATE = 500


def drain_rows() -> list[Row]:
    """Failed connects, at 500 new connections a second."""
    with cluster() as made:
        made.start()
        drained = _rolling_drain(made)
        gone = _without_drain(made)
    control = f"one node taken away without a drain: {gone.failed} of {gone.ok + gone.failed} failed"
    total = drained.ok + drained.failed
    return [
        counted(f"drain/both-nodes-in-turn/failed-connects-at-{RATE}-a-second", drained.failed, total, control=control)
    ]


def _rolling_drain(made: Cluster) -> Traffic:
    with SteadyTraffic(made.lab.client, f"{VIP}:80", rate=RATE) as steady:
        for agent in made.agents:
            agent.cli("drain", "--wait")
            assert agent.node.address not in made.next_hops
            agent.cli("undrain")
            made.await_vip()
        return steady.stop()


def _without_drain(made: Cluster) -> Traffic:
    """The programs go first, then the sessions: what somebody does who knows nothing of an order."""
    agent = made.agents[0]
    with SteadyTraffic(made.lab.client, f"{VIP}:80", rate=RATE) as steady:
        agent.kill()
        agent.node.run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"])
        os.kill(speaker_pid(agent), signal.SIGKILL)
        until(lambda: agent.node.address not in made.next_hops, "the router lost the node", 30)
        return steady.stop()
