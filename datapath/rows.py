"""The row of a frontend and what becomes of it when backends change. Pure.

A slot is steady when every live flow in it belongs to its owner; the program then needs no flow entry. When the owner
of a slot changes while flows of the old owner may live on, the slot is *in transition*: it remembers its previous
owner, and the program remembers flows (``bpf/lb_flow.h``). When a slot that is in transition changes again, it keeps
the older previous owner, because every flow that was seen since has an entry of its own.

Rows nest (``maglev``), so previous owners are kept at the finest length that was involved: no flow is mistaken for that
of a neighbouring slot when the length changes.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable
from typing import NamedTuple

from announcer.model.lb import Backend
from datapath import flow, maglev, native
from datapath.abi import NOBODY, SLOT_TRANSITION

_PAIR = struct.Struct("=HH")


class Row(NamedTuple):
    """What stands behind the members in a block of ``lb_rows``.

    ``slots``: positions among the members, ``SLOT_TRANSITION`` in those that are in transition. ``previous``: positions
    or ``NOBODY``; empty, and ``previous_bits`` 0, if no slot is in transition.
    """

    bits: int
    slots: array[int]
    previous_bits: int = 0
    previous: array[int] = array("H")

    @property
    def in_transition(self) -> bool:
        """True if any slot is."""
        return self.previous_bits > 0

    def owner(self, value: int) -> int:
        """Position of the owner of the slot of this hash, or ``NOBODY``."""
        return self.slots[flow.slot(value, self.bits)] & NOBODY

    def without_entry(self, value: int, *, opens: bool, kept: int = 0) -> int:
        """Where the program sends a flow of this hash that it does not remember. ``opens``: a TCP SYN.

        ``kept``: with client affinity, how many members serve. With one of those a client stays even when it opens a
        connection, as long as the slot is in transition.
        """
        slot = self.slots[flow.slot(value, self.bits)]
        previous = self.previous[flow.slot(value, self.previous_bits)] if slot & SLOT_TRANSITION else NOBODY
        return _destination(slot, previous, opens=opens, kept=kept)

    def reachable(self, *, opens: bool, kept: int = 0) -> set[int]:
        """Every position that :meth:`without_entry` gives for some hash."""
        if not self.in_transition:
            return set(self.slots) - {NOBODY}
        pairs = _pairs(self.slots, self.previous)
        return {_destination(*pair, opens=opens, kept=kept) for pair in pairs} - {NOBODY}


def _pairs(slots: array[int], previous: array[int]) -> set[tuple[int, int]]:
    """Every pair of a slot and a previous owner in it. There are thousands, of which few differ: they are laid side by
    side and compared as numbers."""
    beside = array("H", bytes(4 * len(previous)))
    step = 2 * (len(previous) // len(slots))
    for first in range(0, step, 2):
        beside[first::step] = slots
    beside[1::2] = previous
    numbers = set(memoryview(beside).cast("B").cast("I"))
    return {_PAIR.unpack(number.to_bytes(4, sys.byteorder)) for number in numbers}


def _destination(slot: int, previous: int, *, opens: bool, kept: int) -> int:
    if not slot & SLOT_TRANSITION or previous == NOBODY or (opens and previous >= kept):
        return slot & NOBODY
    return previous


def owners(serving: tuple[Backend, ...]) -> array[int]:
    """Slot by slot the position in ``serving``; one slot of nobody if there is none."""
    return maglev.owners(serving) if serving else array("H", [NOBODY])


def steady(serving: tuple[Backend, ...]) -> Row:
    """The row of a frontend that has no flows of anybody else."""
    return Row(maglev.row_bits(len(serving)), owners(serving))


def follow(
    row: Row, members: tuple[Backend, ...], serving: tuple[Backend, ...], terminating: tuple[Backend, ...]
) -> Row:
    """The row after ``row`` (of ``members``) when ``serving`` take the new flows and ``terminating`` keep theirs."""
    now = {backend: position for position, backend in enumerate((*serving, *terminating))}
    moved = [now.get(backend, NOBODY) for backend in members]
    new = steady(serving)
    bits = max(row.bits, row.previous_bits, new.bits)
    slots = array("H", new.slots)
    previous, changed = native.follow(row, array("H", moved), slots, new.bits, bits)
    return _with_previous(Row(new.bits, slots, bits, previous)) if changed else Row(new.bits, slots)


def _complete(row: Row) -> Row:
    """Without previous owners if there is no transition."""
    if not any(slot & SLOT_TRANSITION for slot in row.slots):
        return Row(row.bits, row.slots)
    return _with_previous(row)


def _with_previous(row: Row) -> Row:
    """A row of one slot cannot say that it has previous owners of its own length, so there they get one bit."""
    if row.previous_bits == 0:
        return row._replace(previous_bits=1, previous=array("H", [row.previous[0]] * 2))
    return row


def settle(row: Row, entries: Iterable[tuple[int, int]], *, unseen_are_dead: bool) -> Row:
    """The row after it was looked for flows: slots are steady again of which every live flow belongs to the owner.

    ``entries``: hash and backend (position) of each live flow entry. ``unseen_are_dead``: the transition has lasted so
    long that a flow without an entry is taken for ended; until then a slot waits for its previous owner to be gone.
    """
    if not row.in_transition:
        return row
    busy = bytearray(len(row.slots))
    for value, position in entries:
        if row.owner(value) != position:
            busy[flow.slot(value, row.bits)] = 1
    return _complete(row._replace(slots=native.settled(row, busy, wait=not unseen_are_dead)))
