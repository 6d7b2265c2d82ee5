"""The dialogue with ExaBGP's API, without I/O: commands in, bytes out; bytes in, events out; time is an argument.

What the engine (5.0.15) does, and what follows here:

- It answers each command with ``done`` or ``error`` in the order in which it carried them out. If nobody reads the
  answers it blocks in write(2) and its sessions die. So answers are always drained, and a backlog of commands, which
  costs it the square, is bounded by a window.
- Some commands are answered when they are *read* and not in their turn (``#``, and ``announce eor`` for a peer that
  has just gone down). Such a command would steal the answer of an earlier one, so it is a *barrier*: it is sent only
  when nothing is owed, and nothing is sent until it is answered.
- Events (JSON objects) and answers share one ordered stream: an answer that stands before an event belongs to a
  command carried out before it.
"""

from __future__ import annotations

from collections import deque
from ipaddress import ip_address

import msgspec

from announcer.model.errors import TargetError
from announcer.model.net import IPAddress
from bgpd.commands import Command

WINDOW_LINES = 200
#: A BGP message in hexadecimal with its JSON is below 9 KiB; more than this is not our engine.
MAX_LINE_BYTES = 1 << 20


class Answered(msgspec.Struct, frozen=True):
    """A command was taken (``ok``) or refused."""

    command: Command
    ok: bool


class StateChanged(msgspec.Struct, frozen=True):
    """``state``: ``connected`` (TCP), ``up`` (Established), ``down``. ``local`` is our end of the session if known."""

    peer: IPAddress
    state: str
    reason: str = ""
    local: IPAddress | None = None


class FsmChanged(msgspec.Struct, frozen=True):
    """The engine's finite state machine, in its own words (``OPENSENT``)."""

    peer: IPAddress
    state: str


class Message(msgspec.Struct, frozen=True):
    """A BGP message about to be written to the peer (``sent``), or received. ``size`` in bytes with the header."""

    peer: IPAddress
    sent: bool
    kind: int
    size: int
    body: bytes


Event = Answered | StateChanged | FsmChanged | Message


class _Address(msgspec.Struct):
    peer: str
    local: str = ""


class _Body(msgspec.Struct):
    category: int = 0
    header: str = ""
    body: str = ""


class _Neighbor(msgspec.Struct):
    address: _Address
    direction: str = ""
    state: str = ""
    reason: str = ""
    message: _Body | None = None


class _Line(msgspec.Struct):
    type: str
    neighbor: _Neighbor | None = None


class Dialogue:
    """One conversation with one engine process. A new process needs a new one."""

    def __init__(self, *, window: int = WINDOW_LINES, now: float) -> None:
        """``window``: commands that may be unanswered at the same time."""
        self._window = window
        self._owed: deque[Command] = deque()
        self._buffer = bytearray()
        self._progress = now
        self.strange_lines = 0

    @property
    def owed(self) -> int:
        """Commands without an answer yet."""
        return len(self._owed)

    def room(self) -> int:
        """How many commands may be given now."""
        if self._owed and self._owed[-1].barrier:
            return 0
        return self._window - len(self._owed)

    def may(self, command: Command) -> bool:
        """True if ``command`` may be given now."""
        return not self._owed if command.barrier else self.room() > 0

    def give(self, command: Command, now: float) -> bytes:
        """The bytes to write for ``command``. Raises ValueError if it may not be given now."""
        if not self.may(command):
            raise ValueError("the window is full or a barrier stands")
        if not self._owed:
            self._progress = now
        self._owed.append(command)
        return command.line()

    def receive(self, data: bytes, now: float) -> list[Event]:
        """The events in ``data``, which may end in the middle of a line. Raises TargetError if no engine talks so."""
        self._buffer += data
        if b"\n" not in data:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise TargetError("read from ExaBGP", detail=f"a line is longer than {MAX_LINE_BYTES} bytes")
            return []
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        return [event for line in lines if (event := self._line(line, now)) is not None]

    def idle_for(self, now: float) -> float:
        """Seconds since the last answer, or since the last command that was given when nothing was owed."""
        return now - self._progress

    @property
    def question(self) -> float | None:
        """When the engine was last seen to get on while it owes answers (another value with every one), else None."""
        return self._progress if self._owed else None

    def _line(self, line: bytes, now: float) -> Event | None:
        if line in (b"done", b"error"):
            if not self._owed:
                raise TargetError("read from ExaBGP", detail="an answer to no command")
            self._progress = now
            return Answered(self._owed.popleft(), ok=line == b"done")
        try:
            said = msgspec.json.decode(line, type=_Line)
            return _event(said.type, said.neighbor) if said.neighbor else None
        except (msgspec.DecodeError, ValueError):
            self.strange_lines += 1
            return None


def _event(kind: str, neighbor: _Neighbor) -> Event | None:
    peer = ip_address(neighbor.address.peer)
    if kind == "state":
        local = neighbor.address.local
        known = ip_address(local) if local not in ("", "None") else None
        return StateChanged(peer, neighbor.state, neighbor.reason, known)
    if kind == "fsm":
        return FsmChanged(peer, neighbor.state)
    if neighbor.message is None:
        return None
    header, body = (bytes.fromhex(text.removeprefix("0x")) for text in (neighbor.message.header, neighbor.message.body))
    return Message(peer, neighbor.direction == "send", neighbor.message.category, len(header) + len(body), body)
