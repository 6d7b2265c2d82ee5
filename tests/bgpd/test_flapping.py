"""A peer that ends every session at once is not connected to without a pause; a real session is soon back."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from exabgp.bgp.fsm import FSM
from exabgp.reactor.delay import Delay
from exabgp.reactor.peer import Peer

from announcer.model.bgp import Neighbor, PeerState
from bgpd.overlay import STEADY_SECONDS, back_off_from_flapping
from tests.bgpd.plain import plain_engine
from tests.bgpd.rig import Rig, eventually, neighbor
from tests.bgpd.scripted import ScriptedPeer, message, neighbor_at

CEASE = message(3, b"\x06\x04")
SECONDS = 4.0
MANY = 100


def flapping(rig: Rig) -> tuple[ScriptedPeer, Neighbor]:
    """A router that ends each session as soon as it is Established, and the neighbor that it is."""
    peer = ScriptedPeer(rig, "10.99.0.100", CEASE, established=True, reset=True)
    return peer, neighbor_at(peer.address, name="flapping")


@pytest.mark.root
def test_a_peer_that_ends_every_session_is_given_longer_each_time(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        peer, flapper = flapping(rig)
        rig.start_bird()
        rig.start_speaker()
        began = time.monotonic()
        rig.configure(neighbor(), flapper)
        rig.wait_established("r1")
        eventually(lambda: peer.said >= 2)
        end = time.monotonic() + SECONDS
        eventually(lambda: time.monotonic() > end or peer.said > MANY, 30)
        # At once, then after 0, 1, 2, … s: so many cannot be had in less time, however busy the machine is.
        assert sum(range(peer.said - 1)) <= time.monotonic() - began
        peer.stop()
        seen = rig.observe()
        assert (seen.peers["r1"].state, seen.peers["r1"].session) == (PeerState.ESTABLISHED, 1)
        assert seen.engine_restarts == {}


@pytest.mark.root
def test_control_exabgp_as_it_comes_connects_without_a_pause(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        peer, flapper = flapping(rig)
        with plain_engine(rig, flapper):
            eventually(lambda: peer.said > MANY, 60, "with pauses it would take more than an hour")
        peer.stop()


class Clock:
    """The time of day as far as ExaBGP is concerned."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """ExaBGP put right in this process, and put back afterwards; its clock is ours."""
    made = Clock()
    monkeypatch.setattr(Peer, "_close", Peer._close)
    monkeypatch.setattr(time, "time", made.time)
    back_off_from_flapping()
    return made


def pause(peer: Peer, clock: Clock, *, lasted: float | None, asked: bool = False) -> float:
    """End a session that ``lasted`` so long, or an attempt that led to none; the seconds until the next attempt."""
    if lasted is not None:
        peer.stats["complete"] = clock.now
        peer._delay.reset()  # as ExaBGP does when a session is Established
        clock.now += lasted
    peer._teardown = 3 if asked else None
    peer._close()
    before = clock.now
    clock.now = max(clock.now, peer._delay._time)
    return clock.now - before


@pytest.fixture
def peer(clock: Clock) -> Peer:
    """A peer of ExaBGP without a connection."""
    made = object.__new__(Peer)
    made.fsm = FSM(SimpleNamespace(neighbor=SimpleNamespace(api={"fsm": False})), FSM.IDLE)
    made.stats, made.proto, made._teardown, made._delay = {"complete": 0}, None, None, Delay()
    return made


def test_the_pauses_grow_while_sessions_are_short_and_end_with_one_that_lasts(peer: Peer, clock: Clock) -> None:
    assert [pause(peer, clock, lasted=0.1) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    assert pause(peer, clock, lasted=STEADY_SECONDS) == 0
    assert [pause(peer, clock, lasted=STEADY_SECONDS - 1) for _ in range(3)] == [0, 1, 2]
    assert max(pause(peer, clock, lasted=0.0) for _ in range(40)) == 60


def test_a_session_that_we_end_ourselves_is_back_at_once(peer: Peer, clock: Clock) -> None:
    assert [pause(peer, clock, lasted=0.1) for _ in range(4)] == [0, 1, 2, 3]
    assert [pause(peer, clock, lasted=0.1, asked=True) for _ in range(4)] == [0] * 4


def test_attempts_that_lead_to_no_session_are_spaced_as_ever(peer: Peer, clock: Clock) -> None:
    assert [pause(peer, clock, lasted=None) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert pause(peer, clock, lasted=3 * STEADY_SECONDS) == 0
    assert [pause(peer, clock, lasted=None) for _ in range(3)] == [1, 2, 3]
