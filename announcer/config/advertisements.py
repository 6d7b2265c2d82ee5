"""``bgp-advertisements``: the routes that are made of a VIP."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from announcer.config.attributes import ATTRIBUTE_KEYS, Known, read_attributes
from announcer.config.ranges import PlacedRange, shortest_prefix
from announcer.config.scalars import whole
from announcer.config.selectors import node_selectors
from announcer.config.types import Advertisement
from announcer.config.walk import At, Fields, Keys

KEYS = Keys(served=("aggregation-length", "aggregation-length-v6", *ATTRIBUTE_KEYS, "node-selectors"))
_LENGTH_KEYS = {4: "aggregation-length", 6: "aggregation-length-v6"}


class _Makers:
    """Who makes the prefixes of one IP version and length: in the order of the file, and for which peers."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._for_all: int | None = None
        self._for_peer: dict[str, int] = {}
        self._places: list[At] = []

    def add(self, at: At, peers: tuple[str, ...]) -> At | None:
        """Take one more, and return the first one before it that makes the same for a peer of it (none named: all)."""
        before = [self._first] if not peers else [self._for_all, *map(self._for_peer.get, peers)]
        number = len(self._places)
        self._places.append(at)
        if self._first is None:
            self._first = number
        if not peers and self._for_all is None:
            self._for_all = number
        for peer in peers:
            self._for_peer.setdefault(peer, number)
        found = min((one for one in before if one is not None), default=None)
        return None if found is None else self._places[found]


class _Room:
    """The ranges of a pool: how wide an aggregate of one IP version may be."""

    def __init__(self, ranges: Sequence[PlacedRange]) -> None:
        """The lengths are worked out once, for any number of advertisements."""
        self._lengths = [(placed, shortest_prefix(placed.item)) for placed in ranges]
        self.families: set[int] = {placed.item.first.version for placed in ranges}
        self._least: dict[int, int] = {
            version: max(length for placed, length in self._lengths if placed.item.first.version == version)
            for version in self.families
        }

    def refuse_too_wide(self, at: At, version: int, length: int) -> None:
        """Record it if prefixes of this length hold more than the pool."""
        if length >= self._least.get(version, 0):
            return
        placed, shortest = next(
            found for found in self._lengths if found[0].item.first.version == version and length < found[1]
        )
        at.wrong(
            f"/{length} is wider than the addresses in line {placed.at.node.line} (/{shortest}): "
            "the route would draw traffic for addresses that are not in the pool",
            f"it must be at least {self._least[version]}",
        )


def read_advertisements(at: At | None, ranges: Sequence[PlacedRange], known: Known) -> tuple[Advertisement, ...]:
    """The advertisements of a pool with these ranges; without any, one with the defaults.

    Each must make prefixes that are not longer than what the pool holds, and no two may make the same prefix for one
    peer: a router holds one path per prefix and neighbor (RFC 4271 section 3.1), so the last would win. Two that make
    the same prefixes are taken only if both name peers and no peer is named by both, after addresses were resolved to
    the peers that have them. Node selectors do not count: whether two of them can select one node depends on labels
    that the file does not know.
    """
    if at is None:
        return (Advertisement(),)
    room = _Room(ranges)
    makers: dict[tuple[int, int], _Makers] = {}
    found = []
    for item in at.items("advertisements"):
        fields = item.fields(KEYS)
        if fields is None:
            continue
        advertisement = _advertisement(fields, room, known)
        _refuse_same_prefix(item, advertisement, room.families, makers)
        found.append(advertisement)
    return tuple(found) or (Advertisement(),)


def _advertisement(fields: Fields, room: _Room, known: Known) -> Advertisement:
    lengths = {}
    for version, full in ((4, 32), (6, 128)):
        key = _LENGTH_KEYS[version]
        lengths[version] = fields.read(key, whole(0, full, full), full)
        at = fields.at(key)
        if at is not None:
            room.refuse_too_wide(at, version, lengths[version])
    return msgspec.structs.replace(
        read_attributes(fields, known),
        aggregation_length=lengths[4],
        aggregation_length_v6=lengths[6],
        node_selectors=node_selectors(fields.at("node-selectors")),
    )


def _refuse_same_prefix(
    at: At, advertisement: Advertisement, families: set[int], makers: dict[tuple[int, int], _Makers]
) -> None:
    for version in sorted(families):
        length = advertisement.length(version)
        first = makers.setdefault((version, length), _Makers()).add(at, advertisement.peers)
        if first is not None:
            where = f"item {first.path[-1]} of this list, line {first.node.line}"
            problem = f"makes the same IPv{version} prefixes (/{length}) as {where}, for the same peers"
            at.wrong(problem, f"remove one, or give them different {_LENGTH_KEYS[version]}, or peers of their own each")
            return
