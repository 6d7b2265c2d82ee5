"""Rows: which backend owns each slot of a frontend. Pure.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4. Every node has
to fill the same row from the same backends, in whatever order it learned of them and whatever ids it gave them: so a
backend's preferences follow from its address and port alone, and turns are taken in the order of those.
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from collections.abc import Sequence

from announcer.model.lb import Backend
from datapath import abi, native, rendezvous

#: Backends up to which a row has so many slots, as a power of two. A single backend needs no choice. Few backends have
#: rows of ``rendezvous``: without flow state not one flow of the others moves when one goes. From there on Maglev, in
#: which few do. A step of the ladder moves most (but not that from one backend), so there are few.
LADDER = ((1, 0), (abi.RENDEZVOUS_MEMBERS, abi.RENDEZVOUS_BITS), (200, 14), (0x7FFE, 16))
_FEW = LADDER[1][0]
MAX_BACKENDS = LADDER[-1][0]


def row_bits(backends: int) -> int:
    """The row of this many backends has ``1 << row_bits`` slots; one slot, which nobody owns, for none.

    Raises ``ValueError`` for more than a row can tell apart.
    """
    if backends == 0:
        return 0
    for most, bits in LADDER:
        if backends <= most:
            return bits
    raise ValueError(f"{backends} backends are more than a row can hold ({MAX_BACKENDS})")


def owners(backends: Sequence[Backend]) -> array[int]:
    """For each slot of the row the position of its owner in ``backends``; none for no backends.

    ``backends`` differ in (address, port); ``local`` plays no part, it is another on every node.
    """
    if not backends:
        return array("H")
    names, order = _turns(backends)
    return native.renamed(_table(names, row_bits(len(names))), array("H", order))


def preferences(backends: Sequence[Backend]) -> array[int]:
    """What makes a row of ``rendezvous``, where :func:`owners` makes one: a word for each backend, in their order."""
    names, order = _turns(backends)
    words = array("I", bytes(4 * len(names)))
    for turn, (name, position) in enumerate(zip(names, order, strict=True)):
        words[position] = rendezvous.word(_preference(name, 1 << abi.RENDEZVOUS_BITS), turn, position)
    return words


def _turns(backends: Sequence[Backend]) -> tuple[tuple[str, ...], list[int]]:
    """Their names in the order in which they take turns, and the position of each."""
    names = [f"{backend.address!s}:{backend.port}" for backend in backends]
    order = sorted(range(len(names)), key=names.__getitem__)
    return tuple(names[i] for i in order), order


@functools.lru_cache(maxsize=64)
def _table(names: tuple[str, ...], bits: int) -> array[int]:
    length = 1 << bits
    steps = [_preference(name, length) for name in names]
    if len(names) <= _FEW:
        return rendezvous.table(steps, bits)
    return native.maglev(steps, bits)


@functools.lru_cache(maxsize=4096)  # for the ways to ask for the same backend one after the other; it is quickly made
def _preference(name: str, length: int) -> tuple[int, int]:
    """Offset and skip of the paper, from one digest so that they are independent of each other."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    offset, skip = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    return offset % length, skip % length | 1
