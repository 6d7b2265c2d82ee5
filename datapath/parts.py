"""Addresses that the kernel's routing tables cannot tell apart. Pure.

Where prefixes begin and end cuts the address space into parts. All addresses of one part lie in the same prefixes of
every table and of every rule, so what the kernel says of the way to one of them it says of all: a quarter of a million
backends need not be asked about one by one.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

from announcer.model.net import IPAddress

#: IP version, first number, length.
Prefix = tuple[int, int, int]
_BITS = {4: 32, 6: 128}


class Parts:
    """The parts that these prefixes cut."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        cuts: dict[int, set[int]] = {4: set(), 6: set()}
        for version, first, length in prefixes:
            cuts[version].update((first, first + (1 << _BITS[version] - length)))
        self._cuts = {version: sorted(found) for version, found in cuts.items()}

    def of(self, address: IPAddress) -> tuple[int, int]:
        """Names the part of an address: its version, and which of them it is."""
        return address.version, bisect.bisect(self._cuts[address.version], int(address))

    def of_all(self, addresses: Sequence[IPAddress]) -> tuple[int, int] | None:
        """The part in which all of these lie, at least one; None: in several."""
        version = addresses[0].version
        if len(set(map(type, addresses))) > 1:
            return None
        numbers = list(map(int, addresses))
        first, last = (bisect.bisect(self._cuts[version], number) for number in (min(numbers), max(numbers)))
        return (version, first) if first == last else None
