"""What ``datapath/rows.c`` does, in plain Python as the papers say it: slow, and easy to believe."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from datapath.abi import NOBODY, SLOT_TRANSITION
from datapath.rows import Row

Preferences = Sequence[tuple[int, int]]


def maglev(preferences: Preferences, bits: int) -> list[int]:
    """Eisenbud et al. (NSDI 2016), section 3.4."""
    length = 1 << bits
    walks = [iter([(offset + i * skip) % length for i in range(length)]) for offset, skip in preferences]
    taken: dict[int, int] = {}
    while True:
        for owner, walk in enumerate(walks):
            if len(taken) == length:
                return [taken[slot] for slot in range(length)]
            taken[next(slot for slot in walk if slot not in taken)] = owner


def rendezvous(preferences: Preferences, bits: int, ranks: Sequence[int]) -> list[int]:
    """Every slot goes to whom it is dearest."""
    length = 1 << bits

    def rank(slot: int, owner: int) -> int:
        offset, skip = preferences[owner]
        return ranks[(offset + slot * skip) % length]

    return [max(range(len(preferences)), key=lambda owner, slot=slot: rank(slot, owner)) for slot in range(length)]  # type: ignore[misc]


def follow(row: Row, moved: Sequence[int], owners: Sequence[int], bits: int) -> Row:
    """Slot by slot, at the finest of the lengths."""

    def now(position: int) -> int:
        return moved[position] if position < len(moved) else NOBODY

    fine = max(row.bits, row.previous_bits, bits)
    slots, previous = array("H", owners), array("H")
    for at in range(1 << fine):
        old, new = row.slots[at >> fine - row.bits], at >> fine - bits
        before, oldest = now(old & NOBODY), NOBODY
        if old & SLOT_TRANSITION and row.previous_bits:
            oldest = now(row.previous[at >> fine - row.previous_bits])
            oldest = before if oldest == NOBODY else oldest
            slots[new] |= SLOT_TRANSITION
        elif before not in (owners[new], NOBODY):
            oldest = before
            slots[new] |= SLOT_TRANSITION
        previous.append(oldest)
    return Row(bits, slots, fine, previous)
