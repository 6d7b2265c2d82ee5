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

#: Who makes the prefixes of one IP version and length.
_Makers = dict[tuple[int, int], list[tuple[At, Advertisement]]]


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
    families: set[int] = {placed.item.first.version for placed in ranges}
    makers: _Makers = {}
    found = []
    for item in at.items("advertisements"):
        fields = item.fields(KEYS)
        if fields is None:
            continue
        advertisement = _advertisement(fields, ranges, known)
        _refuse_same_prefix(item, advertisement, families, makers)
        found.append(advertisement)
    return tuple(found) or (Advertisement(),)


def _advertisement(fields: Fields, ranges: Sequence[PlacedRange], known: Known) -> Advertisement:
    lengths = {}
    for version, full in ((4, 32), (6, 128)):
        key = _LENGTH_KEYS[version]
        lengths[version] = fields.read(key, whole(0, full, full), full)
        at = fields.at(key)
        if at is not None:
            _refuse_too_wide(at, lengths[version], [one for one in ranges if one.item.first.version == version])
    return msgspec.structs.replace(
        read_attributes(fields, known),
        aggregation_length=lengths[4],
        aggregation_length_v6=lengths[6],
        node_selectors=node_selectors(fields.at("node-selectors")),
    )


def _refuse_too_wide(at: At, length: int, ranges: Sequence[PlacedRange]) -> None:
    for placed in ranges:
        shortest = shortest_prefix(placed.item)
        if length < shortest:
            at.wrong(
                f"/{length} is wider than the addresses in line {placed.at.node.line} (/{shortest}): "
                "the route would draw traffic for addresses that are not in the pool",
                f"it must be at least {shortest}",
            )
            return


def _refuse_same_prefix(at: At, advertisement: Advertisement, families: set[int], makers: _Makers) -> None:
    for version in sorted(families):
        length = advertisement.length(version)
        same = makers.setdefault((version, length), [])
        first = next((maker for maker, other in same if _share_a_peer(advertisement, other)), None)
        same.append((at, advertisement))
        if first is not None:
            where = f"item {first.path[-1]} of this list, line {first.node.line}"
            problem = f"makes the same IPv{version} prefixes (/{length}) as {where}, for the same peers"
            at.wrong(problem, f"remove one, or give them different {_LENGTH_KEYS[version]}, or peers of their own each")
            return


def _share_a_peer(one: Advertisement, other: Advertisement) -> bool:
    return not one.peers or not other.peers or not set(one.peers).isdisjoint(other.peers)
