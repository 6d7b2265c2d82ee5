"""BFD sessions as FRR's ``bfdd`` runs them: what to tell it, and what it says. Pure.

``bfdd`` has two sockets, and each is used for what it does well. The terminal of ``vtysh`` takes commands, one after
the other, ended by a zero byte; the answer ends with three zero bytes and a status. The control socket (``--bfdctl``)
tells of every change of a state as it happens, in messages of a header and JSON. Seen with FRR 8.4: a link that is cut
is told of after the detection time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import StrEnum
from ipaddress import ip_address

import msgspec

from announcer.model.bgp import BfdProfile
from announcer.model.net import IPAddress

#: Length of what follows, id, type, version (bfdd/bfdctl.h).
_HEADER = struct.Struct("!IHBB")
_VERSION, _NOTIFY, _NOTIFY_ASKED = 1, 4, 4
_EVERYTHING = b"\xff" * 8
#: A message is some 400 bytes.
_MAX_BYTES = 1 << 16


class BfdState(StrEnum):
    """States of RFC 5880 section 6.2, and ``unknown`` while no daemon runs."""

    UNKNOWN = "unknown"
    ADMIN_DOWN = "shutdown"
    DOWN = "down"
    INIT = "init"
    UP = "up"


class BfdSession(msgspec.Struct, frozen=True, order=True):
    """One session with ``peer`` from the address ``local``. ``multihop``: RFC 5883, else the peer is on the link."""

    peer: IPAddress
    local: IPAddress
    multihop: bool
    profile: BfdProfile

    @property
    def name(self) -> str:
        """The words that begin every command about it."""
        return f"peer {self.peer}{' multihop' if self.multihop else ''} local-address {self.local}"


class BfdChange(msgspec.Struct, frozen=True):
    """The session with this peer has entered a state."""

    peer: IPAddress
    state: BfdState


def commands(before: frozenset[BfdSession], after: frozenset[BfdSession]) -> list[str]:
    """The commands that lead from the sessions ``before`` to those ``after``. A session whose timers change goes on."""
    if before == after:
        return []
    names = {session.name for session in after}
    lines = ["enable", "configure terminal", "bfd"]
    lines += [f"no {session.name}" for session in sorted(before - after) if session.name not in names]
    for session in sorted(after - before):
        lines += [session.name, *_settings(session), "exit"]
    return [*lines, "end"]


def _settings(session: BfdSession) -> Iterator[str]:
    profile = session.profile
    yield f"receive-interval {profile.receive_interval}"
    yield f"transmit-interval {profile.transmit_interval}"
    yield f"detect-multiplier {profile.detect_multiplier}"
    yield "passive-mode" if profile.passive_mode else "no passive-mode"
    if session.multihop:
        yield f"minimum-ttl {profile.minimum_ttl}"
    else:  # the echo function is for one hop (RFC 5881 section 4)
        yield f"echo transmit-interval {profile.echo_interval}"
        yield f"echo receive-interval {profile.echo_interval}"
        yield "echo-mode" if profile.echo_mode else "no echo-mode"


def ask_for_changes() -> bytes:
    """What to write to the control socket first."""
    return _HEADER.pack(len(_EVERYTHING), 1, _NOTIFY_ASKED, _VERSION) + _EVERYTHING


class Notifications:
    """Cuts what comes from the control socket into changes."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[BfdChange]:
        """The changes in ``data``, which may end anywhere. Raises ValueError if no bfdd talks so."""
        self._buffer += data
        found = []
        while len(self._buffer) >= _HEADER.size:
            length, _, kind, _ = _HEADER.unpack_from(self._buffer)
            if length > _MAX_BYTES:
                raise ValueError(f"a message of {length} bytes")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            if kind == _NOTIFY and (change := _change(bytes(self._buffer[_HEADER.size : end]))):
                found.append(change)
            del self._buffer[:end]
        return found


class _Notice(msgspec.Struct, rename="kebab"):
    op: str = ""
    peer_address: str = ""
    state: str = ""


def _change(body: bytes) -> BfdChange | None:
    notice = msgspec.json.decode(body, type=_Notice)
    if notice.op != "status":
        return None
    try:
        state = BfdState(notice.state)
    except ValueError:
        state = BfdState.UNKNOWN
    return BfdChange(ip_address(notice.peer_address), state)
