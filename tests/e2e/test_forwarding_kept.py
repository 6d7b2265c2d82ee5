"""Who decides about the restart and forwarding bits: the agent, by what it finds pinned. Read from the wire."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.bgpd.capture import Capture
from tests.bgpd.test_forwarding_bits import Claim, claims
from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, cluster, speaker_pid
from tests.lab import FibPoll, RouteJournal, until
from tests.lab.agents import LOCKSTEP

pytestmark = [pytest.mark.root, pytest.mark.lab]


@pytest.fixture
def node() -> Iterator[Cluster]:
    """One node whose sessions have graceful restart; its agent is not yet started."""
    with cluster(nodes=1) as made:
        agent = made.agents[0]
        good = (agent.source / "bgp-config.yaml").read_text()
        changed = good.replace("my-asn: 64512", "my-asn: 64512\n        graceful-restart: {time: 60s}")
        made.write(agent, "bgp-config.yaml", changed)
        yield made


def test_what_was_pinned_is_claimed_and_what_was_not_is_not(node: Cluster) -> None:
    agent, router = node.agents[0], node.lab.router
    capture = Capture(router, agent.node.name, router.folder / "bgp.pcap")
    node.start()
    until(lambda: agent.status()["peers"][0]["state"] == "Established", "a session")

    def kill_both() -> None:
        pid = speaker_pid(agent)
        agent.kill()
        os.kill(pid, signal.SIGKILL)
        until(lambda: "Established" not in router.sessions().values(), "the router lost the session")

    with RouteJournal(router) as journal, FibPoll(router, VIP_ROUTE) as poll:
        kill_both()
        agent.start()
        agent.await_announced(VIP, 30)
        seen = poll.stop()
        assert journal.deleted(VIP_ROUTE) == []
    assert seen.missing == 0, seen
    with RouteJournal(router) as journal, FibPoll(router, VIP_ROUTE) as poll:
        kill_both()
        assert agent.node.run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"]).returncode == 0
        # With ready endpoints the route is away for some milliseconds, which the looks may miss, or not at all if BIRD
        # reads OPEN and UPDATE at once.
        node.set_ready(lambda _: False)
        agent.start()
        until(lambda: poll.look().missing, "the control: the looks see a route go that is not announced again", 30)
        node.set_ready(lambda _: True)
        agent.await_announced(VIP, 30)
        node.await_vip()
        assert journal.deleted(VIP_ROUTE), "and so does the journal"
    assert claims(capture.stop(), str(agent.node.address)) == [
        Claim(restarted=False, seconds=60, forwarding=(False,)),  # nothing was pinned: this node has just booted
        Claim(restarted=True, seconds=60, forwarding=(True,)),  # both were killed, the datapath went on
        Claim(restarted=False, seconds=60, forwarding=(False,)),  # its pins were taken away
    ]
