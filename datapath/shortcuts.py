"""Shortcuts to the frontends (``bpf/lb_frontend.h``): what ``lb_frontends`` says, where a packet finds it faster.

A line has the block of few backends too, if that holds preferences: a block never changes while an entry points at it.
They follow from ``lb_frontends`` and are never read for what they say. A line is cleared before the entry that it
repeats changes, and is filled again from the entry after it has rested: a program that was just reading it is done by
then. Until then, and for frontends that share their place with another one, packets find the entry itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import islice

from datapath import abi, native
from datapath.maps import MappedArray

_MASK = (1 << 64) - 1
#: So many lines are filled at a time: an agent that has just started would keep others waiting with thousands.
_AT_ONCE = 1000


def place_of(key: bytes) -> int:
    """Where the line of a frontend is (``struct lb_frontend_key``)."""
    words = struct.unpack("=IIII", key[:16])
    (port,) = struct.unpack("=H", key[16:18])
    high, low = words[0] << 32 | words[1], words[3] << 32 | words[2]
    mixed: int = (low + (port | key[18] << 16) + high * abi.SIEVE_FOLD) * abi.SIEVE_FACTOR
    return (mixed & _MASK) >> (64 - abi.SHORTCUT_BITS)


class Shortcuts:
    """The lines in the kernel."""

    def __init__(self, array: MappedArray, rows: MappedArray, *, rest: float) -> None:
        """No line may say anything yet. ``rest``: seconds from clearing a line until it is filled again.

        ``rows``: ``lb_rows``.
        """
        self._lines = native.Lines(array.bytes, rows.bytes)
        self._rest = rest
        self._sum = 0
        #: By place: whose turn it is, and since when the line is known to say nothing.
        self._due: dict[int, tuple[bytes, float | None]] = {}

    def close(self) -> None:
        """Let go of the map."""
        self._lines.close()

    def waiting(self) -> int:
        """How many lines are to be filled."""
        return len(self._due)

    def forget(self, key: bytes) -> None:
        """Called before the frontend's entry changes."""
        place = place_of(key)
        self._sum = (self._sum - self._lines.sum_of(place)) & _MASK
        self._lines.clear(place)
        self._due[place] = key, None

    def forget_all(self, keys: Iterable[bytes]) -> None:
        """Begin again, with these frontends."""
        self._lines.clear_all()
        self._sum = 0
        self._due = {place_of(key): (key, None) for key in keys}

    def mend(self, keys: Iterable[bytes]) -> None:
        """Begin again if somebody else has changed a line."""
        if self._lines.sum() != self._sum:
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
            if value is not None:
                self._lines.put(place, key, value)
                self._sum = (self._sum + self._lines.sum_of(place)) & _MASK


def clear(fd: int) -> None:
    """Let no line of the map say anything: an agent that knew of no lines may have changed entries since.

    The descriptor stays the caller's.
    """
    array = MappedArray("lb_shortcuts", fd)
    lines = native.Lines(array.bytes, memoryview(b""))
    lines.clear_all()
    lines.close()
    array.unmap()
