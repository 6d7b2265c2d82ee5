"""Shortcuts to the frontends (``bpf/lb_frontend.h``): what ``lb_frontends`` says, where a packet finds it faster.

A line has what the block of few backends says too, if that holds preferences: a block never changes while an entry
points at it. Lines follow from ``lb_frontends`` and are never read for what they say. A line is cleared before the
entry that it repeats changes, and is filled again from the entry after it has rested: a program that was just reading
it is done by then. Until then, and for frontends that share their place with another one, packets find the entry.

Lines in use stand close together, from the first on; ``lb_places`` says which is whose. Nothing comes of a number that
is wrong or old, because the line has the key.
"""

from __future__ import annotations

import heapq
import struct
import sys
from collections.abc import Callable, Iterable
from itertools import islice

from datapath import abi, native
from datapath.maps import MappedArray

_MASK = (1 << 64) - 1
#: So many lines are filled at a time: an agent that has just started would keep others waiting with thousands.
_AT_ONCE = 1000


def place_of(key: bytes) -> int:
    """The place of a frontend (``struct lb_frontend_key``), a number of ``SHORTCUT_BITS`` bits."""
    words = struct.unpack("=IIII", key[:16])
    (port,) = struct.unpack("=H", key[16:18])
    high, low = words[0] << 32 | words[1], words[3] << 32 | words[2]
    mixed: int = (low + (port | key[18] << 16) + high * abi.SIEVE_FOLD) * abi.SIEVE_FACTOR
    return (mixed & _MASK) >> (64 - abi.SHORTCUT_BITS)


class Shortcuts:
    """The lines in the kernel."""

    def __init__(self, lines: MappedArray, places: MappedArray, rows: MappedArray, *, rest: float) -> None:
        """No line may say anything yet. ``rest``: seconds from clearing a line until it is filled again.

        ``lines``: ``lb_shortcuts``; ``places``: ``lb_places``; ``rows``: ``lb_rows``.
        """
        self._lines = native.Lines(lines.bytes, rows.bytes)
        self._places = places.bytes
        self._rest = rest
        self._begin()
        #: By place: whose turn it is, and since when the line is known to say nothing.
        self._due: dict[int, tuple[bytes, float | None]] = {}

    def _begin(self) -> None:
        """No line says anything, and none is anybody's."""
        self._sum = 0
        self._line: dict[int, int] = {}
        self._free: list[int] = []
        self._wanted = bytearray(abi.PLACES_BYTES)
        self._places[:] = self._wanted

    def close(self) -> None:
        """Let go of the map."""
        self._lines.close()

    def waiting(self) -> int:
        """How many lines are to be filled."""
        return len(self._due)

    def forget(self, key: bytes) -> None:
        """Called before the frontend's entry changes."""
        place = place_of(key)
        number = self._line.get(place)
        if number is not None:
            self._sum = (self._sum - self._lines.sum_of(number)) & _MASK
            self._lines.clear(number)
        self._due[place] = key, None

    def forget_all(self, keys: Iterable[bytes]) -> None:
        """Begin again, with these frontends."""
        self._lines.clear_all()
        self._begin()
        self._due = {place_of(key): (key, None) for key in keys}

    def mend(self, keys: Iterable[bytes]) -> None:
        """Begin again if somebody else has changed a line, or the way to one."""
        used = len(self._line) + len(self._free) + 1
        if self._lines.sum(used) != self._sum or self._places.tobytes() != self._wanted:
            self.forget_all(keys)

    def tend(self, now: float, entry: Callable[[bytes], bytes | None]) -> None:
        """Fill lines that have rested; ``entry``: what ``lb_frontends`` says. Raises ``TargetError``."""
        ready = []
        for place, (key, since) in self._due.items():
            if since is None:
                self._due[place] = key, now
            elif since + self._rest <= now:
                ready.append((place, key))
        for place, key in islice(ready, _AT_ONCE):
            value = entry(key)
            del self._due[place]
            if value is None:
                self._give(place)
                continue
            number = self._take(place)
            if number is not None:
                self._lines.put(number, key, value)
                self._sum = (self._sum + self._lines.sum_of(number)) & _MASK
                self._say(place, number)

    def _take(self, place: int) -> int | None:
        """The line of a place: the first that is free, if it has none yet. The first of all is nobody's."""
        if place not in self._line:
            number = heapq.heappop(self._free) if self._free else len(self._line) + 1
            if number >> abi.SHORTCUT_BITS:
                return None
            self._line[place] = number
        return self._line[place]

    def _give(self, place: int) -> None:
        """A line that has rested."""
        number = self._line.pop(place, None)
        if number is not None:
            self._say(place, 0)
            heapq.heappush(self._free, number)

    def _say(self, place: int, number: int) -> None:
        at = slice(2 * place, 2 * place + 2)
        self._wanted[at] = self._places[at] = number.to_bytes(2, sys.byteorder)


def clear(fd: int) -> None:
    """Let no line of the map say anything: an agent that knew of no lines may have changed entries since.

    The descriptor stays the caller's.
    """
    mapped = MappedArray("lb_shortcuts", fd)
    lines = native.Lines(mapped.bytes, memoryview(b""))
    lines.clear_all()
    lines.close()
    mapped.unmap()
