"""Which parts of ``lb_rows`` and which backend ids are free. Pure; time is a parameter.

What is given back rests for a while before it is given out again: a program that read the old entry a moment ago may
still be on its way to what the entry named.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable


class Extents:
    """First-fit over ``size`` units, numbered from 0."""

    def __init__(self, size: int, *, rest: float) -> None:
        """All free. ``rest`` in seconds."""
        self.size = size
        self._rest = rest
        self._free: list[tuple[int, int]] = [(0, size)]
        self._unused = size
        self._resting: deque[tuple[float, int, int]] = deque()
        # By room and page: before this offset there is no room, so gaps that are too short are passed once.
        self._full_before: dict[tuple[int, int], int] = {}

    def taken_by(self, used: Iterable[tuple[int, int]]) -> Extents:
        """A new one in which just these (offset, length) pairs are taken; what rests goes on resting.

        Pairs may overlap or reach beyond the end: they come from a kernel map that may be damaged.
        """
        new = Extents(self.size, rest=self._rest)
        new._resting = deque(self._resting)
        new._free = []
        at = 0
        for offset, length in sorted([*used, *((offset, length) for _, offset, length in self._resting)]):
            if offset >= self.size:
                break
            if offset > at:
                new._free.append((at, offset - at))
            at = max(at, offset + length)
        if at < self.size:
            new._free.append((at, self.size - at))
        new._unused = sum(length for _, length in new._free) + sum(length for _, _, length in new._resting)
        return new

    def take(self, length: int, now: float, *, page: int = 0, room: int = 0) -> int | None:
        """Offset of ``length`` units, None if no gap is that long.

        ``page``: they all lie between one multiple of this and the next, which is not shorter. 0: anywhere.

        ``room``: so many would have been free there, within the page too; for whoever may want more later.
        """
        self._reclaim(now)
        room = max(room, length)
        first = bisect.bisect_left(self._free, (self._full_before.get((room, page), 0), 0))
        for i in range(first, len(self._free)):
            offset, units = self._free[i]
            start, end = offset, offset + units
            if page and start // page != (start + room - 1) // page:
                start += page - start % page
            if start + room <= end:
                self._cut(i, start, length)
                self._full_before[room, page] = offset
                return start
        return None

    def _cut(self, i: int, start: int, length: int) -> None:
        """Take a piece out of the gap ``i``."""
        offset, units = self._free[i]
        rest = ((offset, start - offset), (start + length, offset + units - start - length))
        self._free[i : i + 1] = [(at, left) for at, left in rest if left]
        self._unused -= length

    def take_one(self, first: int, end: int, now: float) -> int | None:
        """The first unit from ``first`` on that is free; None if that is not before ``end``."""
        self._reclaim(now)
        i = max(bisect.bisect(self._free, (first, self.size)) - 1, 0)
        while i < len(self._free) and self._free[i][0] < end:
            offset, units = self._free[i]
            at = max(offset, first)
            if at < min(offset + units, end):
                self._cut(i, at, 1)
                return at
            i += 1
        return None

    def give(self, offset: int, length: int, now: float) -> None:
        """Return what ``take`` gave; it is free again after ``rest`` seconds."""
        self._resting.append((now + self._rest, offset, length))
        self._unused += length

    def free(self) -> int:
        """Units that could be given out now or after their rest."""
        return self._unused

    def _reclaim(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            _, offset, length = self._resting.popleft()
            at = bisect.bisect(self._free, (offset, length))
            if at < len(self._free) and self._free[at][0] == offset + length:
                length += self._free.pop(at)[1]
            if at and sum(self._free[at - 1]) == offset:
                offset, before = self._free.pop(at - 1)
                length, at = length + before, at - 1
            self._free.insert(at, (offset, length))
            self._full_before = {kind: min(before, offset) for kind, before in self._full_before.items()}
