"""``addresses``: prefixes and ranges of a pool, and pools that overlap."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

import msgspec

from announcer.config.scalars import text
from announcer.config.types import AddressRange
from announcer.config.walk import At, WrongValue
from announcer.model.net import IPAddress
from announcer.yamltree import Node, shown


class PlacedRange(msgspec.Struct, frozen=True):
    """A range, the pool it belongs to, and where it stands."""

    item: AddressRange
    pool: str
    at: At


def address_range(node: Node) -> AddressRange:
    """A prefix (``192.0.2.0/24``) or a range (``192.0.2.10-192.0.2.20``, spaces allowed around the dash).

    Host bits and reversed ranges are refused: the dialect's origin widened the one to the whole network and made the
    other an empty pool, both silently.
    """
    word = text(node).strip()
    if "/" in word:
        return _prefix(word)
    if "-" in word:
        return _range(word)
    try:
        found = ipaddress.ip_address(word)
    except ValueError:
        hint = "write 192.0.2.0/24 or 192.0.2.10-192.0.2.20"
        raise WrongValue(f'"{shown(word)}" is neither a prefix nor a range', hint) from None
    raise WrongValue(f"{found} has no length", f"write {found}/{found.max_prefixlen} for this one address")


def refuse_overlaps(ranges: Sequence[PlacedRange]) -> None:
    """Record every range that has addresses in common with one before it (in the order of addresses)."""
    widest: PlacedRange | None = None
    for this in sorted(ranges, key=lambda placed: (placed.item.first.version, int(placed.item.first))):
        if this.at.problems.full:
            return
        if widest is not None and widest.item.contains(this.item.first):
            _report_overlap(widest, this)
        same_family = widest is not None and widest.item.last.version == this.item.last.version
        if widest is None or not same_family or int(this.item.last) > int(widest.item.last):
            widest = this


def shortest_prefix(item: AddressRange) -> int:
    """The length of the largest prefix that lies in the range."""
    first, after = int(item.first), int(item.last) + 1
    # An aligned block of at least a quarter of them lies in any row of numbers, so this turns twice at most.
    bits = (after - first).bit_length() - 1
    while (-(-first >> bits) + 1) << bits > after:
        bits -= 1
    return item.first.max_prefixlen - bits


def _report_overlap(one: PlacedRange, other: PlacedRange) -> None:
    if other.at.node.line < one.at.node.line:
        one, other = other, one
    first = max(int(one.item.first), int(other.item.first))
    last = min(int(one.item.last), int(other.item.last))
    family = type(one.item.first)
    common = f"{family(first)}-{family(last)}" if first != last else str(family(first))
    pools = (
        "twice in"
        if one.at.path[:2] == other.at.path[:2]
        else f'in the pool "{shown(one.pool)}" (line {one.at.node.line}) and in'
    )
    other.at.wrong(f'{common} is {pools} the pool "{shown(other.pool)}"', "an address may be in one pool only")


# A list under an alias stands for as many items as it is used, and each is read.
@functools.lru_cache(4096)
def _prefix(word: str) -> AddressRange:
    host, _, length = word.partition("/")
    try:
        network = ipaddress.ip_network(word, strict=False)
        first = ipaddress.ip_address(host)
    except ValueError:
        raise WrongValue(f'"{shown(word)}" is not a prefix', "write one such as 192.0.2.0/24") from None
    if not length.isdigit():
        raise WrongValue(f'"{shown(word)}" has a netmask for a length', f"write {network}")
    if first != network.network_address:
        one = f"{first}/{first.max_prefixlen}"
        raise WrongValue(f"{word} has host bits set", f"write {network} for the whole network, {one} for one address")
    return AddressRange(network.network_address, network.broadcast_address)


@functools.lru_cache(4096)
def _range(word: str) -> AddressRange:
    begin, _, end = (part.strip() for part in word.partition("-"))
    first, last = _end_of_range(begin, word), _end_of_range(end, word)
    if first.version != last.version:
        raise WrongValue(f"{word} mixes IPv4 and IPv6", "write one range for each")
    if int(first) > int(last):
        raise WrongValue(f"{word} is reversed", f"write {last}-{first}")
    return AddressRange(first, last)


def _end_of_range(part: str, word: str) -> IPAddress:
    try:
        found = ipaddress.ip_address(part)
    except ValueError:
        problem = f'"{shown(part)}" in "{shown(word)}" is not an IP address'
        raise WrongValue(problem, "write a range as 192.0.2.10-192.0.2.20") from None
    if "%" in part:
        raise WrongValue(f'"{shown(word)}" has a zone', "write the addresses without it")
    return found
