"""What happens to sessions and routes when the agent, ExaBGP, its helper or the speaker ends, in order or not."""

from __future__ import annotations

import os
import signal
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from announcer.model.bgp import PeerState, Route
from announcer.model.observed import BgpObserved
from announcer.model.steps import Announce, DeclareForwarding, EndOfRib, Withdraw
from tests.bgpd.rig import SPEAKER_ADDRESS, Rig, eventually, neighbor, states

pytestmark = pytest.mark.root

VIP = IPv4Network("203.0.113.10/32")
OTHER = IPv4Network("203.0.113.11/32")
KEEPALIVE = 4


def announce(nlri: IPv4Network = VIP, peer: str = "r1") -> Announce:
    return Announce(lane=str(nlri), peer=peer, route=Route(nlri=nlri))


def withdraw(nlri: IPv4Network = VIP, peer: str = "r1") -> Withdraw:
    return Withdraw(lane=str(nlri), peer=peer, nlri=nlri)


def gone(pid: int) -> bool:
    """True if there is no such process, or only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While there is such a file, no ExaBGP starts below a speaker that is started from now on."""
    file = tmp_path / "away"
    monkeypatch.setenv("LOCKSTEP_TEST_AWAY", str(file))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "away"))
    return file


def kill_exabgp(rig: Rig, away: Path) -> BgpObserved:
    """What is observed then. The next one comes when ``away`` is removed: within 20 s, which is what it may take."""
    away.touch()
    os.kill(rig.exabgp_pid(), signal.SIGKILL)
    return rig.wait(lambda seen: seen.peers["r1"].state is PeerState.IDLE)


def test_an_agent_killed_and_replaced_sends_nothing(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor(hold_time=9))
    rig.wait_established()
    rig.replace_client()
    agent = rig.popen_beside_speaker("-m", "tests.bgpd.agent_child", str(rig.state_dir / "speaker.sock"), str(VIP))
    assert agent.stdout is not None
    assert agent.stdout.readline() == b"announced\n"
    eventually(lambda: str(VIP) in bird.routes())
    assert rig.apply(withdraw())[0].problem.startswith("another agent is connected")

    bird.settle()
    capture = rig.capture()
    agent.kill()
    agent.communicate()
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
    # An interval at least, and the capture is known to see something.
    eventually(lambda: len([m for m in capture.so_far() if m.source == str(SPEAKER_ADDRESS)]) >= 2)
    eventually(lambda: states(rig.apply(announce())) == {"done"}, what="the new agent is let in")
    caught = capture.stop()
    assert {message.kind for message in caught} == {KEEPALIVE}
    assert rig.peer().session == 1

    assert states(rig.apply(withdraw())) == {"done"}
    eventually(lambda: bird.routes() == {})


def test_exabgp_killed(away: Path, rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce(), announce(OTHER), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    rig.apply(withdraw(OTHER))
    rig.wait(lambda seen: OTHER not in seen.peers["r1"].rib)  # what is still to be written would be recorded
    capture = rig.capture()
    assert "ended with status -9" in kill_exabgp(rig, away).problem
    away.unlink()
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 2, 30)
    eventually(lambda: list(bird.routes()) == [str(VIP)])
    ours = [message.body for message in capture.stop() if message.kind == 2 and message.source == str(SPEAKER_ADDRESS)]
    assert len(ours) == 2, "the route, then End-of-RIB"
    assert ours[1] == bytes(4)


def test_a_withdrawal_while_exabgp_is_away_is_not_undone(away: Path, rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce(), announce(OTHER))
    rig.wait(lambda seen: all(entry.sent for entry in seen.peers["r1"].rib.values()))
    capture = rig.capture()
    kill_exabgp(rig, away)
    assert states(rig.apply(withdraw(OTHER))) == {"done"}
    assert OTHER not in rig.peer().rib
    away.unlink()
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent, 30)
    eventually(lambda: list(bird.routes()) == [str(VIP)])
    assert not any(OTHER.network_address.packed in message.body for message in capture.stop())


def test_the_helper_killed(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce())
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
    exabgp = rig.exabgp_pid()
    (helper,) = Path(f"/proc/{exabgp}/task/{exabgp}/children").read_text().split()
    os.kill(int(helper), signal.SIGKILL)
    rig.wait_established(session=2)
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
    eventually(lambda: str(VIP) in bird.routes())
    assert rig.exabgp_pid() != exabgp


def test_exabgp_dies_with_a_killed_speaker(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce())
    eventually(lambda: str(VIP) in bird.routes())
    exabgp = rig.exabgp_pid()
    (helper,) = Path(f"/proc/{exabgp}/task/{exabgp}/children").read_text().split()
    os.kill(exabgp, signal.SIGSTOP)  # so that it cannot end by itself because its helper did
    assert rig.speaker is not None
    rig.speaker.kill()
    rig.speaker.communicate()
    eventually(lambda: gone(exabgp) and gone(int(helper)))
    eventually(lambda: bird.routes() == {})
    assert not rig.observe().reachable
    assert states(rig.apply(announce())) == {"failed"}
    rig.start_speaker()  # over the sockets and the lock file that the dead one left
    assert rig.observe().peers == {}


@pytest.mark.parametrize("graceful_restart", [None, 120])
def test_a_planned_exit_withdraws_first(rig: Rig, graceful_restart: int | None) -> None:
    """With graceful restart the peer would keep for two minutes whatever was not withdrawn."""
    bird = rig.start_bird(options="graceful restart on;")
    rig.configure(neighbor(graceful_restart=graceful_restart))
    rig.wait_established()
    rig.apply(announce(), announce(OTHER), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    eventually(lambda: bird.count() == 2)
    capture = rig.capture()
    exabgp = rig.exabgp_pid()
    assert rig.speaker is not None
    rig.speaker.terminate()
    rig.speaker.communicate(timeout=15)
    assert rig.speaker.returncode == 0
    assert gone(exabgp)
    assert bird.routes() == {}
    updates = [message for message in capture.stop() if message.kind == 2]
    assert len(updates) == 1
    assert all(vip.network_address.packed in updates[0].body for vip in (VIP, OTHER))
    assert not (rig.state_dir / "speaker.sock").exists()


def test_graceful_restart_keeps_the_routes_while_exabgp_is_replaced(away: Path, rig: Rig) -> None:
    bird = rig.start_bird(options="graceful restart on;")
    rig.apply(DeclareForwarding(lane="speaker", kept=True))
    rig.configure(neighbor(graceful_restart=120))
    rig.wait_established()
    rig.apply(announce(), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    eventually(lambda: str(VIP) in bird.routes())
    kill_exabgp(rig, away)
    eventually(lambda: "Established" not in bird.ask("show protocols all speaker"))
    assert str(VIP) in bird.routes()
    away.unlink()
    while rig.peer().end_of_rib != 2:
        assert str(VIP) in bird.routes()
    assert str(VIP) in bird.routes()


def test_a_second_speaker_in_the_same_folder_ends(rig: Rig) -> None:
    second = rig.popen_beside_speaker("-m", "bgpd", "--state-dir", str(rig.state_dir))
    second.communicate(timeout=15)
    assert second.returncode == 1
    assert "another speaker runs in this state folder" in (rig.state_dir / "speaker.log").read_text()
    assert rig.observe().reachable


def test_a_neighbor_that_goes_and_comes_again_is_a_new_one(rig: Rig) -> None:
    """Its first session is another first session: what was sent in it has to be seen in its own connection."""
    bird = rig.start_bird(options="graceful restart on;")
    for _ in range(2):
        rig.configure(neighbor(graceful_restart=120))
        rig.wait_established()
        rig.apply(announce())
        rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
        rig.configure()
        assert bird.count() == 0, "withdrawn first: a helper would keep it for two minutes"
