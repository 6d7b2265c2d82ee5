"""Short rows of few backends, in which nothing moves but what has to. Pure.

Every backend puts the slots into an order of its own, and a slot belongs to whom it is dearest (Thaler and Ravishankar,
"Using name-based mappings to increase hit rates", 1998). So when a backend goes, only its slots move; when one comes,
only those that it takes. With orders instead of independent weights each backend likes as many slots much as any other,
which evens out much of what chance would do.

The price is that shares differ: by 2 to 3 % of a share (one standard deviation) with 10 backends and 4,096 slots.
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from collections.abc import Sequence

from datapath import abi, native

_BITS = abi.RENDEZVOUS_BITS
_MASK = (1 << _BITS) - 1
_LAST_TURN = abi.RENDEZVOUS_MEMBERS - 1


def table(preferences: Sequence[tuple[int, int]], bits: int) -> array[int]:
    """For each of ``1 << bits`` slots its owner's position in ``preferences`` (offset and odd skip).

    Where two like a slot as much as each other, the first of them has it.
    """
    return native.rendezvous(preferences, bits, _ranks(bits))


def word(preference: tuple[int, int], turn: int, position: int) -> int:
    """A member's preference (offset and odd skip) as the program reads it: see ``struct lb_frontend``.

    ``turn``: which of those that like a slot as much as each other are asked before it; ``position``: its own.
    """
    offset, skip = preference
    return offset | skip << _BITS | position << 2 * _BITS | (_LAST_TURN - turn) << 2 * _BITS + 4


@functools.lru_cache(maxsize=64)
def row(words: tuple[int, ...]) -> array[int]:
    """The row that these words of members make: for each slot the position that stands in its owner's word."""
    turns = sorted(words, key=lambda each: -(each >> 2 * _BITS + 4))
    slots = table([(each & _MASK, each >> _BITS & _MASK) for each in turns], _BITS)
    return native.renamed(slots, array("H", [each >> 2 * _BITS & _LAST_TURN for each in turns]))


@functools.cache
def ranks() -> bytes:
    """``struct lb_ranks``."""
    return array("H", _ranks(_BITS)).tobytes()


@functools.cache
def _ranks(bits: int) -> array[int]:
    """A fixed disorder: walks of equal skips would otherwise be ahead of each other everywhere."""
    return array(
        "I", sorted(range(1 << bits), key=lambda i: hashlib.blake2b(i.to_bytes(4, "big"), digest_size=8).digest())
    )
