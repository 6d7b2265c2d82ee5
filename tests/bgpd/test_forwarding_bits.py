"""The restart and forwarding bits of graceful restart (RFC 4724 section 3), read from the OPEN on the wire."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from itertools import pairwise

import pytest

from announcer.model.steps import DeclareForwarding, EndOfRib
from bgpd import wire
from tests.bgpd.capture import Caught
from tests.bgpd.rig import SPEAKER_ADDRESS, Bird, Rig, eventually, neighbor
from tests.bgpd.test_lifetime import VIP, announce

pytestmark = pytest.mark.root

_GRACEFUL_RESTART = 64
_CAPABILITIES = 2


@dataclass(frozen=True)
class Claim:
    """What an OPEN says. ``forwarding``: of every family in it."""

    restarted: bool
    seconds: int
    forwarding: tuple[bool, ...]


def claims(caught: list[Caught], source: str) -> list[Claim | None]:
    """Of every OPEN from ``source`` that its peer answered, in order; None for one without graceful restart.

    An answered OPEN is followed by a KEEPALIVE. One that is followed by the next OPEN was sent to a router that closed
    its listening socket meanwhile: BIRD does while it restarts a protocol, and the kernel accepts until then.
    """
    said = [message for message in caught if message.source == source]
    return [
        claim(message.body)
        for message, after in pairwise(said)
        if message.kind == wire.OPEN and after.kind == wire.KEEPALIVE
    ]


def claim(body: bytes) -> Claim | None:
    for kind, parameter in _values(body[10:]):
        for code, value in _values(parameter) if kind == _CAPABILITIES else ():
            if code == _GRACEFUL_RESTART:
                flags = int.from_bytes(value[:2], "big")
                families = tuple(bool(value[at + 3] & 0x80) for at in range(2, len(value), 4))
                return Claim(bool(flags & 0x8000), flags & 0x0FFF, families)
    return None


def _values(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        found.append((data[0], data[2 : 2 + data[1]]))
        data = data[2 + data[1] :]
    return found


def declare(kept: bool) -> DeclareForwarding:
    return DeclareForwarding(lane="speaker", kept=kept)


def reset(rig: Rig, bird: Bird) -> None:
    """The router ends the session and takes the next."""
    session = rig.peer().session
    bird.ask("restart speaker")
    rig.wait_established(session=session + 1)


def test_the_bits_are_set_only_when_forwarding_was_kept(rig: Rig) -> None:
    bird = rig.start_bird(options="graceful restart on;")
    capture = rig.capture()
    rig.configure(neighbor(graceful_restart=77))
    rig.wait_established()
    assert not rig.observe().forwarding_kept
    rig.apply(declare(True))
    assert rig.observe().forwarding_kept
    os.kill(rig.exabgp_pid(), signal.SIGKILL)
    rig.wait_established(session=2)
    reset(rig, bird)
    rig.apply(declare(False))
    reset(rig, bird)
    eventually(lambda: len(claims(capture.so_far(), str(SPEAKER_ADDRESS))) >= 4)
    assert claims(capture.stop(), str(SPEAKER_ADDRESS)) == [
        Claim(restarted=False, seconds=77, forwarding=(False,)),  # the speaker starts, and nobody has said anything
        Claim(restarted=True, seconds=77, forwarding=(True,)),  # ExaBGP was killed
        Claim(restarted=False, seconds=77, forwarding=(True,)),  # the session was reset, which is no restart
        Claim(restarted=False, seconds=77, forwarding=(False,)),
    ]


@pytest.mark.parametrize("kept", [True, False])
def test_a_helper_keeps_what_was_kept_and_drops_at_once_what_was_not(rig: Rig, kept: bool) -> None:
    """Long before End-of-RIB or the restart time."""
    bird = rig.start_bird(options="graceful restart on;")
    rig.apply(declare(kept))
    rig.configure(neighbor(graceful_restart=120))
    rig.wait_established()
    rig.apply(announce(), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    eventually(lambda: bird.count() == 1)
    assert rig.speaker is not None
    rig.speaker.kill()
    rig.speaker.communicate()
    rig.start_speaker()
    assert not rig.observe().forwarding_kept, "another start, of which nobody has said anything"
    rig.apply(declare(kept))
    assert str(VIP) in bird.routes()
    rig.configure(neighbor(graceful_restart=120))
    rig.wait_established()
    if kept:
        assert str(VIP) in bird.routes()
        rig.apply(EndOfRib(lane="r1", peer="r1", session=1))
    eventually(lambda: bird.count() == 0)
