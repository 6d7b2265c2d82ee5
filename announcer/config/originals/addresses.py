"""What the originals made of prefixes and ranges."""

from __future__ import annotations

import functools
import ipaddress

import msgspec

from announcer.config.originals.dialects import Dialect
from announcer.config.originals.notes import Here, Notes
from announcer.model.net import IPAddress


class Range(msgspec.Struct, frozen=True):
    """Addresses that an item stands for, ``first <= last``. ``longest``: bits of the smallest prefix it is cut into."""

    first: IPAddress
    last: IPAddress
    longest: int


def read_ranges(pool: Here) -> list[Range]:
    """The items of ``addresses`` that make sense, host bits ignored."""
    return [found for item in pool.items("addresses") if (found := _range(item.text())) is not None]


def inspect_addresses(item: Here, dialect: Dialect, notes: Notes) -> None:
    """Remarks about one item of ``addresses``."""
    word = item.text()
    if "/" in word:
        _prefix(item, word, dialect, notes)
    elif "-" in word:
        _two_ends(item, word, dialect, notes)
    found = _range(word)
    if found is not None and found.first.version == 6:
        notes.add(item, _ipv6(dialect))


def _prefix(item: Here, word: str, dialect: Dialect, notes: Notes) -> None:
    try:
        network = ipaddress.ip_network(word.strip(), strict=False)
        first = ipaddress.ip_address(word.partition("/")[0].strip())
    except ValueError:
        return
    if first != network.network_address:
        notes.add(item, f"{dialect} took it silently for the whole of {network}")


def _two_ends(item: Here, word: str, dialect: Dialect, notes: Notes) -> None:
    first, last = _ends(word)
    if first is None or last is None:
        return
    backwards = first.version != last.version or int(first) > int(last)
    if backwards and dialect.minor < 11:
        notes.add(item, f"{dialect} took it silently for no addresses at all")
    elif first == last and dialect.minor == 11:
        notes.add(item, f"{dialect} refused the whole file: a range had to have two addresses or more")


def _ipv6(dialect: Dialect) -> str:
    if dialect.minor >= 12:
        return f"{dialect} refused IPv6 in a bgp pool in its native mode"
    busy = ", and its agent tried without a pause" if dialect.cilium else ""
    return f"{dialect} could not announce IPv6: the addresses were given to Services but not routed{busy}"


@functools.lru_cache(4096)
def _range(word: str) -> Range | None:
    if "/" in word:
        try:
            network = ipaddress.ip_network(word.strip(), strict=False)
        except ValueError:
            return None
        return Range(network.network_address, network.broadcast_address, network.prefixlen)
    first, last = _ends(word)
    if first is None or last is None or first.version != last.version or int(first) > int(last):
        return None
    # The smallest of the prefixes lies at one of the ends: no end is better aligned than its prefix.
    ends = int(first) | int(last) + 1
    return Range(first, last, first.max_prefixlen - (ends & -ends).bit_length() + 1)


def _ends(word: str) -> tuple[IPAddress | None, IPAddress | None]:
    try:
        first, last = (ipaddress.ip_address(part.strip()) for part in word.split("-"))
    except ValueError:
        return None, None
    return first, last
