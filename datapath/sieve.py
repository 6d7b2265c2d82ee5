"""The first look of every packet (``bpf/lb_sieve.h``): a bit for each VIP, so that most packets for others leave there.

It follows from ``lb_vips`` and ``lb_guards`` and is never read for what it says. A bit is set before its VIP becomes
one and cleared after it ceased to be, so that at no moment a packet for a VIP passes by.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Set as AbstractSet

from datapath import abi
from datapath.maps import MappedArray

_MASK = (1 << 64) - 1
_BYTES = (1 << abi.SIEVE_BITS) // 8


def bit_of(address: bytes) -> int:
    """The bit of an address (16 bytes, IPv4 mapped)."""
    high, low = int.from_bytes(address[:8], "big"), int.from_bytes(address[8:], "big")
    return ((low + high * abi.SIEVE_FOLD) * abi.SIEVE_FACTOR & _MASK) >> (64 - abi.SIEVE_BITS)


def guarded(array: MappedArray, prefixes: int) -> None:
    """Say how many prefixes are guarded: unless it is none, no packet passes by."""
    array.words[0] = prefixes


def answered_at(array: MappedArray, first: int, last: int) -> None:
    """Say to which ports of this node backends answer: packets to them do not pass by. 0 and 0: to none."""
    abi.SNAT_RANGE.pack_into(array.bytes, abi.SNAT_RANGE_AT, first, last)


def unstacked(array: MappedArray, *, none: bool) -> None:
    """Say whether no device is on top of another: then untagged packets need not look for one."""
    array.words[abi.UNSTACKED_AT // 4] = none


class Sieve:
    """The bits in the kernel."""

    def __init__(self, array: MappedArray) -> None:
        self._filled = array.words[1:2]
        self._bits = array.bytes[abi.SIEVE_AT : abi.SIEVE_AT + _BYTES]
        self.follow(frozenset())

    def close(self) -> None:
        """Let go of the mapping."""
        self._bits.release()
        self._filled.release()

    def follow(self, addresses: AbstractSet[bytes]) -> None:
        """Let just these be VIPs. Nothing is written before :meth:`mend` or a change."""
        self._vips = set(addresses)
        self._shared = Counter(map(bit_of, addresses))
        self._wanted = bytearray(_BYTES)
        for bit in self._shared:
            self._wanted[_byte(bit)] |= 1 << bit % 8

    def mend(self) -> None:
        """Make the kernel's bits what they should be. Bits that are right are not touched, not even for a moment."""
        if self._bits.tobytes() != self._wanted:
            self._bits[:] = self._wanted
        self._filled[0] = 1

    def add(self, address: bytes) -> None:
        """Idempotent; also sets a bit that somebody cleared."""
        bit = bit_of(address)
        if address not in self._vips:
            self._vips.add(address)
            self._shared[bit] += 1
        self._wanted[_byte(bit)] |= 1 << bit % 8
        self._bits[_byte(bit)] |= 1 << bit % 8

    def remove(self, address: bytes) -> None:
        """Idempotent. The bit stays while another VIP needs it."""
        if address not in self._vips:
            return
        self._vips.remove(address)
        bit = bit_of(address)
        self._shared[bit] -= 1
        if not self._shared[bit]:
            del self._shared[bit]
            self._wanted[_byte(bit)] &= ~(1 << bit % 8)
            self._bits[_byte(bit)] = self._wanted[_byte(bit)]


def _byte(bit: int) -> int:
    """Bits are numbered in words of 64 in the host's order."""
    return bit // 8 if sys.byteorder == "little" else bit // 8 ^ 7
