"""Rows: which backend owns each slot of a frontend. Pure.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4. Every node has
to fill the same row from the same backends, in whatever order it learned of them and whatever ids it gave them: so a
backend's preferences follow from its address and port alone, and turns are taken in the order of those.
"""

from __future__ import annotations

import functools
import hashlib
import socket
import struct
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
    return _owners(tuple(backends))[:] if backends else array("H")


def preferences(backends: Sequence[Backend]) -> array[int]:
    """What makes a row of ``rendezvous``, where :func:`owners` makes one: a word for each backend, in their order."""
    return _words(tuple(backends))[:]


# A frontend is programmed, read back and proved one after the other.
@functools.lru_cache(maxsize=64)
def _owners(backends: tuple[Backend, ...]) -> array[int]:
    names, order = _turns(backends)
    return native.renamed(_table(names, row_bits(len(names))), array("H", order))


@functools.lru_cache(maxsize=64)
def _words(backends: tuple[Backend, ...]) -> array[int]:
    names, order = _turns(backends)
    words = array("I", bytes(4 * len(names)))
    made = _preferences(names, 1 << abi.RENDEZVOUS_BITS)
    for turn, (preference, position) in enumerate(zip(made, order, strict=True)):
        words[position] = rendezvous.word(preference, turn, position)
    return words


def _turns(backends: Sequence[Backend]) -> tuple[list[str], list[int]]:
    """Their names in the order in which they take turns, and the position of each."""
    names = [_name(backend) for backend in backends]
    order = sorted(range(len(names)), key=names.__getitem__)
    return [names[i] for i in order], order


def _name(backend: Backend) -> str:
    """Address and port, the address as ``str`` has it, which for IPv4 the C library has much sooner."""
    address = backend.address
    text = socket.inet_ntoa(address.packed) if address.version == 4 else str(address)
    return f"{text}:{backend.port}"


def _table(names: Sequence[str], bits: int) -> array[int]:
    steps = _preferences(names, 1 << bits)
    if len(names) <= _FEW:
        return rendezvous.table(steps, bits)
    return native.maglev(steps, bits)


def _preferences(names: Sequence[str], length: int) -> list[tuple[int, int]]:
    """Offset and skip of the paper for each, from one digest so that they are independent of each other."""
    digests = [hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names]
    numbers = struct.unpack(f">{2 * len(names)}Q", b"".join(digests))
    return [(offset % length, skip % length | 1) for offset, skip in zip(numbers[::2], numbers[1::2], strict=True)]
