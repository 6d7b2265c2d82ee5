"""Killing parts of the product under traffic, each with a control that shows that the test could have seen a loss."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
from pathlib import Path

import pytest

from bgpd import wire
from tests.bgpd.capture import Capture, Caught
from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, frontends_in_kernel, speaker_pid
from tests.e2e.damage import frozen
from tests.lab import FibPoll, RouteJournal, SteadyTraffic, send, until
from tests.lab.agents import LOCKSTEP, NodeAgent
from tests.lab.release import LONG_DRAIN, build_release

pytestmark = [pytest.mark.root, pytest.mark.lab]


def on_the_wire(running: Cluster) -> Capture:
    """Every BGP message between the first node and the router from now on."""
    router = running.lab.router
    return Capture(router, running.agents[0].node.name, router.folder / "bgp.pcap")


def _since(agent: NodeAgent) -> str:
    (peer,) = agent.status()["peers"]
    assert peer["state"] == "Established"
    return str(peer["since"])


@pytest.mark.parametrize("way", ["kill", "terminate"])
def test_the_agent_dies_and_comes_back_and_nothing_moves(running: Cluster, way: str) -> None:
    agent = running.agents[0]
    since = _since(agent)
    capture = on_the_wire(running)
    with (
        RouteJournal(running.lab.router) as journal,
        FibPoll(running.lab.router, agent.node.pod_cidr) as poll,
        SteadyTraffic(running.lab.client, f"{VIP}:80", rate=300) as steady,
    ):
        (agent.kill if way == "kill" else agent.terminate)()
        while_away = send(running.lab.client, f"{VIP}:80", count=200)
        agent.start()
        agent.await_announced(VIP)
        until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven again")
        outcome = steady.stop()
        changes = journal.changes()
        seen = poll.stop()
    said = {message.kind for message in capture.stop()}
    assert said <= {wire.KEEPALIVE}, "not one BGP message besides KEEPALIVE"
    assert seen.missing == 0, seen
    assert (while_away.ok, while_away.failed) == (200, 0), while_away
    assert set(while_away.backends) == {"n1p1", "n1p2", "n2p1", "n2p2"}
    assert outcome.failed == 0, outcome
    assert changes == [], "not one route was withdrawn, replaced or announced again"
    assert _since(agent) == since, "the session is the one from before"
    assert agent.status()["peers"][0]["sessions"] == 1


def test_control_killing_the_speaker_as_well_is_seen(running: Cluster) -> None:
    """Negative control: without the part that outlives the agent the routes do go, and the journal shows it."""
    agent = running.agents[0]
    capture = on_the_wire(running)
    with RouteJournal(running.lab.router) as journal, FibPoll(running.lab.router, agent.node.pod_cidr) as poll:
        agent.kill()
        os.kill(speaker_pid(agent), signal.SIGKILL)
        until(lambda: running.next_hops == {running.lab.nodes[1].address}, "the router lost n1")
        assert journal.changes(), "a change of routes does not escape the journal"
        until(lambda: poll.look().missing, "nor does it escape who looks at the FIB")
        agent.start()
        running.await_vip()
    assert {wire.OPEN, wire.UPDATE} <= {message.kind for message in capture.stop()}, "nor do messages the capture"


#: UPDATE without anything: End-of-RIB of IPv4 unicast (RFC 4724 section 2).
_END_OF_RIB = bytes(4)


def _updates(caught: list[Caught], agent: NodeAgent) -> list[bytes]:
    return [message.body for message in caught if message.kind == wire.UPDATE and message.source == agent.node.address]


def test_end_of_rib_comes_after_every_route(running: Cluster) -> None:
    """A helper takes away what was not announced again before it. So all VIPs are proven anew before it is sent."""
    agent = running.agents[0]
    running.enable_graceful_restart()
    capture = on_the_wire(running)
    speaker = speaker_pid(agent)
    agent.kill()
    os.kill(speaker, signal.SIGKILL)
    agent.start()
    until(lambda: _END_OF_RIB in _updates(capture.so_far(), agent), "End-of-RIB", 30)
    updates = _updates(capture.stop(), agent)
    (end,) = [place for place, body in enumerate(updates) if body == _END_OF_RIB]
    for prefix in (VIP_ROUTE, agent.node.pod_cidr):
        network = ipaddress.IPv4Network(prefix)
        nlri = bytes([network.prefixlen]) + network.network_address.packed[: network.prefixlen // 8]
        places = [place for place, body in enumerate(updates) if nlri in body]
        assert places, f"{prefix} was announced"
        assert max(places) < end


def test_a_killed_speaker_is_replaced_and_everything_announced_again(running: Cluster) -> None:
    """The agent lives: it starts another speaker, which announces what is proven and ends with End-of-RIB."""
    agent = running.agents[0]
    before = speaker_pid(agent)
    with frozen(agent):
        os.kill(before, signal.SIGKILL)
        until(lambda: running.next_hops == {running.lab.nodes[1].address}, "the router lost n1")
    running.await_vip()
    assert speaker_pid(agent) != before
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0


def test_the_service_is_deleted_while_the_agent_is_away(running: Cluster) -> None:
    agent = running.agents[0]
    agent.kill()
    agent.release = build_release(running.lab.folder / "patient", LONG_DRAIN)
    (agent.source / "service-web.yaml").unlink()
    assert running.lab.nodes[0].address in running.next_hops
    agent.start()
    until(lambda: running.next_hops == {running.lab.nodes[1].address}, "n1 withdrew", 30)
    assert frontends_in_kernel(agent) == {(VIP, 80), (VIP, 53)}, "entries outlive the withdrawal by the drain"
    until(lambda: not frontends_in_kernel(agent), "the entries are gone", 30)


def test_an_agent_without_its_source_is_wrong_use_and_changes_nothing(running: Cluster) -> None:
    agent = running.agents[0]
    agent.kill()
    away = agent.source.rename(agent.source.with_name("away"))
    with RouteJournal(running.lab.router) as journal:
        agent.start()
        assert agent.wait() == 2
        away.rename(agent.source)
        agent.start()
        agent.await_announced(VIP)
        assert journal.changes() == []


def test_a_source_that_goes_away_while_the_agent_runs_changes_nothing(running: Cluster) -> None:
    agent = running.agents[0]
    with RouteJournal(running.lab.router) as journal:
        away = agent.source.rename(agent.source.with_name("away"))
        until(lambda: agent.status()["sources"]["stale_seconds"] > 0, "the status says that the source is stale", 20)
        assert agent.status()["sources"]["problems"]
        assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0
        away.rename(agent.source)
        until(lambda: agent.status()["sources"]["stale_seconds"] == 0, "the source is well again", 20)
        assert journal.changes() == []


def test_a_second_agent_on_a_node_is_refused(running: Cluster) -> None:
    agent = running.agents[0]
    argv: list[str | Path] = [LOCKSTEP, "run", f"--source={agent.source}", "--node-name=n1"]
    same_state = running.lab.nodes[0].run(
        [*argv, f"--state-dir={agent.state_dir}", f"--bpffs={agent.node.bpffs}"], check=False
    )
    assert same_state.returncode == 1
    assert "another agent" in same_state.stderr
    same_pins = running.lab.nodes[0].run(
        [*argv, f"--state-dir={agent.node.folder / 'other'}", f"--bpffs={agent.node.bpffs}", "--no-spawn-speaker"],
        check=False,
    )
    assert same_pins.returncode == 1
    assert "Traceback" not in same_state.stderr + same_pins.stderr
    assert send(running.lab.client, f"{VIP}:80", count=50).failed == 0


def link_at(running: Cluster, pin: Path) -> int | None:
    """The kernel's id of the link at ``pin`` on the first node; None while there is none."""
    shown = running.lab.nodes[0].run(["bpftool", "--json", "link", "show", "pinned", pin], check=False)
    if shown.returncode != 0:
        return None
    return int(json.loads(shown.stdout)["id"])


def test_a_detached_program_is_noticed_and_attached_again(running: Cluster) -> None:
    """Somebody removes our link behind our back."""
    agent = running.agents[0]
    links = agent.node.bpffs / "links"
    pinned = [path for path in links.iterdir() if "xdp" in path.name]
    assert pinned
    before = {path: link_at(running, path) for path in pinned}
    for path in pinned:
        # Done when the link is off the device; the agent may have put another there before we look.
        running.lab.nodes[0].run(["bpftool", "link", "detach", "pinned", path])
    until(lambda: all(link_at(running, pin) not in (None, link) for pin, link in before.items()), "there are new links")
    until(lambda: "prog/xdp" in running.lab.nodes[0].run(["ip", "link", "show", "eth0"]).stdout, "it is back")
    until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven again")
    running.await_vip()
    assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0


def test_a_planned_end_of_the_speaker_takes_the_routes_back_first(running: Cluster) -> None:
    agent = running.agents[0]
    agent.terminate()
    pid = speaker_pid(agent)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the speaker has ended")
    assert running.next_hops == {running.lab.nodes[1].address}, "gone at the router when the process was gone"


def test_uninstall_leaves_nothing_of_ours(running: Cluster) -> None:
    agent = running.agents[0]
    refused = running.lab.nodes[0].run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"], check=False)
    assert refused.returncode == 1, "not while an agent works with it"
    agent.terminate()
    done = running.lab.nodes[0].run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"])
    assert done.returncode == 0
    # The two .debug files are the kernel's: every BPF file system is born with them.
    assert {path.name for path in agent.node.bpffs.iterdir()} <= {"maps.debug", "progs.debug"}
    assert "prog/xdp" not in running.lab.nodes[0].run(["ip", "link", "show", "eth0"]).stdout
    neighbours = running.lab.nodes[0].run(["ip", "neigh", "show"]).stdout
    assert "extern_learn" not in neighbours
