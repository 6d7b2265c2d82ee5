"""How much of the maps one look reads back.

To walk 10,000 entries of a hash takes a processor 1 to 2 ms, most of it waiting for memory, and looks are made once in
a second when nothing happens. So of large tables a look reads a part, and the next one goes on from there; small ones
are read at every look. What that comes to in seconds stands in ``docs/limits.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

from datapath.maps import SummedMap

#: Entries of hash maps, and bytes of blocks and backends, that a look goes through.
LOOK_ENTRIES = 4000
LOOK_BYTES = 3 << 19


class Rota:
    """Maps take turns to be asked whether they are as this process has left them."""

    def __init__(self, maps: Sequence[SummedMap]) -> None:
        self._maps = maps
        self._next = 0
        self._owed = 0

    def as_left(self) -> bool:
        """False: one of those whose turn it is has been changed by somebody else. Raises ``TargetError``.

        A map is asked as a whole: what that is beyond ``LOOK_ENTRIES`` the next looks rest for.
        """
        self._owed -= LOOK_ENTRIES
        for _ in self._maps:
            if self._owed > 0:
                return True
            table = self._maps[self._next]
            if not table.is_as_left():
                return False  # and it stays its turn
            self._next = (self._next + 1) % len(self._maps)
            self._owed += table.entries
        self._owed = max(self._owed, 0)
        return True
