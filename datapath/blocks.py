"""A frontend's block in ``lb_rows``: members, row, previous owners (``struct lb_frontend`` in ``bpf/lb_abi.h``).

Lengths and offsets are in words of 4 bytes.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from datapath import abi
from datapath.maps import Maps
from datapath.rows import Row

_EMPTY = Row(0, array("H", [abi.NOBODY]))


class Entry(NamedTuple):
    """``struct lb_frontend``. ``since``: coarse time at which slots last went into transition."""

    block: int = 0
    serving: int = 0
    members: int = 0
    bits: int = 0
    previous_bits: int = 0
    flags: abi.FrontendFlag = abi.FrontendFlag(0)
    since: int = 0

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """From the bytes of the map."""
        block, serving, members, bits, previous_bits, flags, since = abi.FRONTEND.unpack(data)
        return cls(block, serving, members, bits, previous_bits, abi.FrontendFlag(flags), since)

    def pack(self) -> bytes:
        """The bytes of the map."""
        return abi.FRONTEND.pack(*self)

    @property
    def length(self) -> int:
        """Words of the block; 0 without members."""
        if not self.members:
            return 0
        previous = 1 << self.previous_bits if self.previous_bits else 0
        return self.members + ((1 << self.bits) + previous + 1) // 2


def entry_of(row: Row, serving: int, members: int, flags: abi.FrontendFlag, since: int) -> Entry:
    """The entry of a block that is yet to be placed."""
    if not members:
        return Entry(flags=flags)
    return Entry(0, serving, members, row.bits, row.previous_bits, flags, since)


def write(maps: Maps, entry: Entry, ids: list[int], row: Row) -> None:
    """Fill the block. No frontend may point at it yet."""
    maps.rows.words[entry.block : entry.block + entry.members] = memoryview(array("I", ids))
    at = 2 * (entry.block + entry.members)
    maps.rows.halves[at : at + len(row.slots)] = memoryview(row.slots)
    if row.previous:
        at += len(row.slots)
        maps.rows.halves[at : at + len(row.previous)] = memoryview(row.previous)


def fits(maps: Maps, entry: Entry) -> bool:
    """True if the block lies within ``lb_rows``; an entry from the kernel may be damaged."""
    sound = entry.serving <= entry.members <= abi.NOBODY and entry.bits <= 16 and entry.previous_bits <= 16
    return sound and entry.block + entry.length <= len(maps.rows.words)


def read_ids(maps: Maps, entry: Entry) -> list[int]:
    """The members' backend ids."""
    return maps.rows.words[entry.block : entry.block + entry.members].tolist()


def read_row(maps: Maps, entry: Entry) -> Row:
    """The row as it stands."""
    if not entry.members:
        return _EMPTY
    at = 2 * (entry.block + entry.members)
    slots = array("H", maps.rows.halves[at : at + (1 << entry.bits)])
    if not entry.previous_bits:
        return Row(entry.bits, slots)
    at += len(slots)
    return Row(
        entry.bits, slots, entry.previous_bits, array("H", maps.rows.halves[at : at + (1 << entry.previous_bits)])
    )
