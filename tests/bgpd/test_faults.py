"""Faults of the engine and of its surroundings: noticed, healed, counted. Each with a control that shows the fault."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from announcer.model.bgp import PeerState
from announcer.model.steps import Announce, DeclareForwarding, EndOfRib
from bgpd import wire
from tests.bgpd.capture import Caught
from tests.bgpd.plain import plain_engine
from tests.bgpd.rig import SPEAKER_ADDRESS, Rig, eventually, neighbor
from tests.bgpd.test_lifetime import VIP, announce

pytestmark = pytest.mark.root

HOLD_TIME = 6  # a KEEPALIVE every two seconds
HOLD_TIMER_EXPIRED = b"\x04\x00"
BAD_LINE = "\nneighbor 10.99.0.77 { no-such-statement yes; }\n"


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands in this file, in seconds, is added to the time of day of every Python that is started from now on."""
    file = tmp_path / "clock"
    set_clock(file, 0)
    monkeypatch.setenv("LOCKSTEP_TEST_CLOCK", str(file))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "shims"))
    return file


def set_clock(file: Path, seconds: float) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(str(seconds))
    beside.replace(file)


def ours(caught: list[Caught], kind: int, since: float) -> list[Caught]:
    return [m for m in caught if m.kind == kind and m.source == str(SPEAKER_ADDRESS) and m.time > since]


@pytest.mark.parametrize("step", [60, -3600], ids=["forwards", "backwards"])
def test_a_clock_that_is_set_costs_no_session_and_is_counted(tmp_path: Path, clock: Path, step: int) -> None:
    with Rig(tmp_path) as rig:
        rig.start_speaker()
        bird = rig.start_bird()
        rig.configure(neighbor(hold_time=HOLD_TIME))
        rig.wait_established()
        bird.settle()
        assert rig.observe().clock_steps == 0
        capture = rig.capture()
        set_at = time.time()
        set_clock(clock, step)
        rig.wait(lambda seen: seen.clock_steps == 1)
        enough = time.monotonic() + 1.5 * HOLD_TIME
        eventually(lambda: time.monotonic() > enough, 2 * HOLD_TIME)
        caught = capture.stop()
        assert len(ours(caught, wire.KEEPALIVE, set_at)) >= 3
        assert {message.kind for message in caught} == {wire.KEEPALIVE}
        peer = rig.peer()
        assert (peer.state, peer.session) == (PeerState.ESTABLISHED, 1)
        assert rig.observe().engine_restarts == {}


@pytest.mark.parametrize("step", [60, -3600], ids=["forwards", "backwards"])
def test_control_a_clock_that_is_set_ends_the_sessions_of_exabgp(tmp_path: Path, clock: Path, step: int) -> None:
    with Rig(tmp_path) as rig:
        bird = rig.start_bird()
        with plain_engine(rig, neighbor(hold_time=HOLD_TIME)):
            eventually(lambda: "Established" in bird.ask("show protocols all speaker"))
            capture = rig.capture()
            set_at = time.time()
            set_clock(clock, step)
            eventually(lambda: "Established" not in bird.ask("show protocols all speaker"), 5 * HOLD_TIME)
            caught = capture.stop()
        if step > 0:
            assert [m.body[:2] for m in ours(caught, wire.NOTIFICATION, set_at)][:1] == [HOLD_TIMER_EXPIRED]
        else:
            assert "Hold timer expired" in bird.log()


def test_a_poisoned_reload_is_healed_under_graceful_restart(rig: Rig) -> None:
    """Somebody breaks the file behind our back and has ExaBGP load it: it ends its helper and refuses all from then."""
    bird = rig.start_bird(options="graceful restart on;")
    rig.apply(DeclareForwarding(lane="speaker", kept=True))
    rig.configure(neighbor(graceful_restart=120))
    rig.wait_established()
    rig.apply(announce(), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    configuration = rig.state_dir / "exabgp.conf"
    good = configuration.read_text()
    configuration.write_text(good + BAD_LINE)
    os.kill(rig.exabgp_pid(), signal.SIGUSR1)
    while rig.peer().end_of_rib != 2:
        assert str(VIP) in bird.routes()
    assert rig.observe().engine_restarts == {"reload-refused": 1}
    assert configuration.read_text() == good
    assert configuration.stat().st_mode & 0o777 == 0o600
    assert rig.configure(neighbor(graceful_restart=120, hold_time=60)).problem == ""
    rig.wait_established(session=3)
    assert rig.observe().engine_restarts == {"reload-refused": 1}, "the next reload is an ordinary one"


def test_control_exabgp_stays_poisoned(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        bird = rig.start_bird()
        with plain_engine(rig, neighbor()) as engine:
            eventually(lambda: "Established" in bird.ask("show protocols all speaker"))
            good = engine.configuration.read_text()
            for text in (good + BAD_LINE, good):
                refusals = engine.log().count("could not load/reload configuration")
                engine.configuration.write_text(text)
                engine.process.send_signal(signal.SIGUSR1)
                eventually(lambda n=refusals: engine.log().count("could not load/reload configuration") > n)  # type: ignore[misc]


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python that is started from now on hangs on SIGWINCH."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "hang"))


@pytest.mark.usefixtures("hanging")
def test_an_engine_that_hangs_is_noticed_replaced_and_counted(tmp_path: Path) -> None:
    """Nothing is asked of it meanwhile: it is the sign of life that does not come."""
    with Rig(tmp_path) as rig:
        rig.start_speaker()
        rig.start_bird()
        rig.configure(neighbor())
        rig.wait_established()
        rig.apply(announce())
        rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
        os.kill(rig.exabgp_pid(), signal.SIGWINCH)
        rig.wait_established(session=2)
        rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
        assert rig.observe().engine_restarts == {"stalled": 1}


@pytest.mark.usefixtures("hanging")
def test_control_without_the_limit_it_hangs_on_and_costs_the_session(tmp_path: Path) -> None:
    """All the time it is said that it does not answer."""
    with Rig(tmp_path) as rig:
        rig.start_speaker(silence=600, stall=600)
        bird = rig.start_bird()
        rig.configure(neighbor(hold_time=3))
        rig.wait_established()
        hung = rig.exabgp_pid()
        os.kill(hung, signal.SIGWINCH)
        rig.apply(Announce(lane="x", peer="r1", route=announce().route))
        eventually(lambda: "Established" not in bird.ask("show protocols all speaker"))
        rig.wait(lambda seen: seen.problem == "ExaBGP does not answer")
        assert rig.exabgp_pid() == hung
        assert rig.observe().engine_restarts == {}


def test_an_engine_that_is_stopped_is_told_to_go_on(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.start_speaker()
        rig.start_bird()
        rig.configure(neighbor())
        rig.wait_established()
        stopped = rig.exabgp_pid()
        for count in (1, 2):
            os.kill(stopped, signal.SIGSTOP)
            rig.wait(lambda seen, count=count: seen.engine_resumptions >= count)  # type: ignore[misc]
        rig.apply(announce())
        rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
        assert (rig.exabgp_pid(), rig.peer().session, rig.observe().engine_restarts) == (stopped, 1, {})
