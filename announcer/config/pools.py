"""``address-pools``: which addresses Services may have, and the routes that are made of them."""

from __future__ import annotations

from announcer.config.advertisements import read_advertisements
from announcer.config.attributes import Known
from announcer.config.ranges import PlacedRange, address_range, refuse_overlaps
from announcer.config.scalars import one_of, text, truth
from announcer.config.types import NotReadyConnections, Pool, Readiness, ZeroEndpoints
from announcer.config.walk import At, Fields, Keys, WrongValue
from announcer.yamltree import Node, YamlList, is_null, shown

KEYS = Keys(
    served=(
        "name",
        "protocol",
        "addresses",
        "auto-assign",
        "avoid-buggy-ips",
        "readiness",
        "zero-endpoints",
        "not-ready-connections",
        "bgp-advertisements",
    )
)


def read_pools(at: At | None, known: Known) -> tuple[Pool, ...]:
    """The pools; those that are wrong are recorded and left out. ``known``: what their advertisements may name."""
    if at is None:
        return ()
    pools: list[Pool] = []
    ranges: list[PlacedRange] = []
    names: dict[str, At] = {}
    for item in at.items("pools"):
        fields = item.fields(KEYS)
        if fields is None:
            continue
        name = fields.need("name", text, "default")
        if name is not None:
            _refuse_duplicate(fields, name, item, names)
        pools.append(_pool(fields, name or f"address-pools[{item.path[-1]}]", known, ranges))
    refuse_overlaps(ranges)
    return tuple(pools)


def _pool(fields: Fields, name: str, known: Known, ranges: list[PlacedRange]) -> Pool:
    fields.need("protocol", _protocol, "bgp")
    own = _addresses(fields, name)
    ranges.extend(own)
    return Pool(
        name=name,
        ranges=tuple(placed.item for placed in own),
        auto_assign=fields.read("auto-assign", truth, True),
        avoid_buggy_ips=fields.read("avoid-buggy-ips", truth, False),
        readiness=fields.read("readiness", one_of(Readiness), Readiness.READY_THEN_SERVING),
        zero_endpoints=fields.read("zero-endpoints", one_of(ZeroEndpoints), ZeroEndpoints.WITHDRAW),
        not_ready_connections=fields.read(
            "not-ready-connections", one_of(NotReadyConnections), NotReadyConnections.RESET
        ),
        advertisements=read_advertisements(fields.at("bgp-advertisements"), own, known),
    )


def _addresses(fields: Fields, name: str) -> list[PlacedRange]:
    at = fields.at("addresses")
    if at is None:
        fields.missing("addresses", "[192.0.2.0/24]")
        return []
    if is_null(at.node) or (isinstance(at.node, YamlList) and not at.node.items):
        at.wrong("has no addresses", 'write "addresses: [192.0.2.0/24]"')
    found = ((item.read(address_range), item) for item in at.items("prefixes and ranges"))
    return [PlacedRange(value, name, item) for value, item in found if value is not None]


def _refuse_duplicate(fields: Fields, name: str, item: At, names: dict[str, At]) -> None:
    first = names.setdefault(name, item)
    name_at = fields.at("name")
    if first is not item and name_at is not None:
        problem = f'"{shown(name)}" is already the name of address-pools[{first.path[-1]}], line {first.node.line}'
        name_at.wrong(problem, "give each pool a name of its own")


def _protocol(node: Node) -> str:
    word = text(node)
    if word == "layer2":
        raise WrongValue("addresses of a layer2 pool would be allocated but never announced", "write bgp")
    if word != "bgp":
        raise WrongValue(f'"{shown(word)}" is not a protocol', "write bgp")
    return word
