"""A frontend's block in ``lb_rows``: members, row, previous owners (``struct lb_frontend`` in ``bpf/lb_abi.h``).

Instead of a short row that is in no transition it holds the members' preferences, which make the row (``rendezvous``).
Lengths and offsets are in words of 4 bytes.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from announcer.model.lb import Backend
from datapath import abi, maglev, native, rendezvous, rows
from datapath.maps import Maps
from datapath.rows import Row

#: Ids by backend, in the order of the block.
Ids = tuple[tuple[Backend, int], ...]
#: Asked for thousands of times, and not made anew each time.
_FLAGS = tuple(map(abi.FrontendFlag, range(256)))
_RENDEZVOUS = int(abi.FrontendFlag.RENDEZVOUS)
_EMPTY = Row(0, array("H", [abi.NOBODY]))


class Entry(NamedTuple):
    """``struct lb_frontend``. ``since``: coarse time at which slots last went into transition.

    ``sources``: the set of clients that are let in, 0: everybody.
    """

    block: int = 0
    serving: int = 0
    members: int = 0
    bits: int = 0
    previous_bits: int = 0
    flags: abi.FrontendFlag = abi.FrontendFlag(0)
    since: int = 0
    sources: int = 0

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """From the bytes of the map."""
        block, serving, members, bits, previous_bits, flags, since, sources = abi.FRONTEND.unpack(data)
        return cls(block, serving, members, bits, previous_bits, _FLAGS[flags], since, sources)

    def pack(self) -> bytes:
        """The bytes of the map."""
        return abi.FRONTEND.pack(*self)

    @property
    def length(self) -> int:
        """Words of the block; 0 without members."""
        if not self.members:
            return 0
        if self.prefers:
            return 2 * self.members
        previous = 1 << self.previous_bits if self.previous_bits else 0
        row = ((1 << self.bits) + previous) * self.width
        return self.members + (row + 3) // 4

    @property
    def width(self) -> int:
        """Bytes of a slot."""
        return 1 if self.members <= abi.NARROW_MEMBERS else 2

    @property
    def prefers(self) -> bool:
        """It holds preferences and no row."""
        return int(self.flags) & _RENDEZVOUS > 0

    @property
    def row_at(self) -> int:
        """Where the row begins, or the preferences, in bytes."""
        return 4 * (self.block + self.members)


def entry_of(
    row: Row | None, serving: int, members: int, flags: abi.FrontendFlag, since: int, sources: int = 0
) -> Entry:
    """The entry of a block that is yet to be placed. ``row`` None: that of the members that serve, and of no others."""
    number = int(flags) & ~_RENDEZVOUS
    if not members:
        return Entry(flags=_FLAGS[number], sources=sources)
    bits, previous_bits = (row.bits, row.previous_bits) if row else (maglev.row_bits(serving), 0)
    if not previous_bits and serving == members and bits == abi.RENDEZVOUS_BITS:
        number |= _RENDEZVOUS
    return Entry(0, serving, members, bits, previous_bits, _FLAGS[number], since, sources)


def write(maps: Maps, entry: Entry, members: tuple[Backend, ...], numbers: array[int], row: Row | None) -> None:
    """Fill the block of these members with these ids. No frontend may point at it yet.

    ``row`` None: as for :func:`entry_of`. Where preferences are written it is never made.
    """
    words = array("I", numbers)
    if entry.prefers:
        words += maglev.preferences(members)
    maps.rows.words[entry.block : entry.block + len(words)] = memoryview(words)
    if entry.prefers:
        return
    row = row or rows.steady(members[: entry.serving])
    at = entry.row_at
    for part in (row.slots, row.previous):
        view = maps.rows.bytes[at : at + len(part) * entry.width]
        if entry.width == 2:
            view[:] = memoryview(part).cast("B")
        else:
            native.narrow(part, view)
        at += len(view)


def mend_ranks(maps: Maps) -> None:
    """Make ``lb_ranks`` what it should be, without which preferences mean nothing."""
    if maps.ranks.bytes[: len(rendezvous.ranks())] != rendezvous.ranks():
        maps.ranks.bytes[: len(rendezvous.ranks())] = rendezvous.ranks()


def fits(maps: Maps, entry: Entry) -> bool:
    """True if the block lies within ``lb_rows``; an entry from the kernel may be damaged."""
    sound = entry.serving <= entry.members <= abi.NOBODY and entry.bits <= 16 and entry.previous_bits <= 16
    if entry.prefers:
        sound = 0 < entry.members <= abi.RENDEZVOUS_MEMBERS and not entry.previous_bits and _within_page(entry)
    return sound and entry.block + entry.length <= len(maps.rows.words)


def _within_page(entry: Entry) -> bool:
    return entry.block % abi.PAGE_WORDS + entry.length <= abi.PAGE_WORDS


def read_ids(maps: Maps, entry: Entry) -> list[int]:
    """The members' backend ids."""
    return maps.rows.words[entry.block : entry.block + entry.members].tolist()


def read_preferences(maps: Maps, entry: Entry) -> array[int]:
    """A word for each member, of a block that holds them."""
    at = entry.block + entry.members
    return array("I", maps.rows.words[at : at + entry.members].tobytes())


def read_row(maps: Maps, entry: Entry) -> Row:
    """The row as it stands."""
    if not entry.members:
        return _EMPTY
    if entry.prefers:
        return Row(entry.bits, rendezvous.row(tuple(read_preferences(maps, entry))))
    slots, at = _read_slots(maps, entry, entry.row_at, entry.bits)
    if not entry.previous_bits:
        return Row(entry.bits, slots)
    previous, _ = _read_slots(maps, entry, at, entry.previous_bits)
    return Row(entry.bits, slots, entry.previous_bits, previous)


def aim(maps: Maps, entry: Entry, base: int, ports: range, wanted: int) -> array[int]:
    """For each of the first ``wanted`` members the first port from which a flow comes to it: ``native.aim_by_slots``.

    For a frontend with backends, of which no slot is in transition, and that chooses by ports too.
    """
    if entry.prefers:
        preferences = read_preferences(maps, entry)
        return native.aim_by_preferences(preferences, rendezvous.ranks(), entry.bits, base, ports, wanted)
    slots, _ = _read_slots(maps, entry, entry.row_at, entry.bits)
    return native.aim_by_slots(slots, entry.bits, base, ports, wanted)


def _read_slots(maps: Maps, entry: Entry, at: int, bits: int) -> tuple[array[int], int]:
    """The slots, and what stands behind them."""
    end = at + entry.width * (1 << bits)
    view = maps.rows.bytes[at:end]
    return (array("H", view.tobytes()) if entry.width == 2 else native.widen(view)), end
