"""The path attributes of a route and the peers that get it: what advertisements and ``pod-cidrs`` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from announcer.config.communities import Aliases, large_community, named_community
from announcer.config.names import PeerNames
from announcer.config.scalars import text, whole
from announcer.config.types import Advertisement
from announcer.config.walk import At, Fields, WrongValue
from announcer.model.bgp import Community, Origin
from announcer.yamltree import Node, shown

T = TypeVar("T")

#: What one UPDATE of the dialect's origin could hold; more would also be a mistake in any network.
MAX_COMMUNITIES = 63
#: A longer AS_PATH makes no difference anywhere, and some routers refuse very long ones.
MAX_PREPEND = 10

ATTRIBUTE_KEYS = ("localpref", "communities", "large-communities", "med", "as-path-prepend", "origin", "peers")


class Known(msgspec.Struct, frozen=True):
    """What other parts of the file define and an advertisement may name."""

    aliases: Aliases
    peers: PeerNames


def read_attributes(fields: Fields, known: Known) -> Advertisement:
    """An advertisement with these attributes; lengths and node selectors are the defaults."""
    number = whole(0, 2**32 - 1, 100)
    large = _distinct(fields.at("large-communities"), large_community, "large communities")
    return Advertisement(
        local_pref=fields.read("localpref", number, None),
        communities=_communities(fields.at("communities"), known.aliases),
        large_communities=tuple(sorted(large)),
        med=fields.read("med", number, None),
        prepend=fields.read("as-path-prepend", whole(0, MAX_PREPEND, 1), 0),
        origin=fields.read("origin", _origin, Origin.IGP),
        peers=_peers(fields.at("peers"), known.peers),
    )


def _origin(node: Node) -> Origin:
    word = text(node)
    try:
        return Origin(word)
    except ValueError:
        raise WrongValue(f'"{shown(word)}" is not an origin', "write igp or incomplete") from None


def _communities(at: At | None, aliases: Aliases) -> tuple[Community, ...]:
    found = _distinct(at, named_community(aliases), "communities")
    return tuple(sorted(value for value in found if value is not None))


def _peers(at: At | None, names: PeerNames) -> tuple[str, ...]:
    """Names of peers. An address that several peers have stands for all of them."""
    found = _distinct(at, names.read, "peers")
    return tuple(sorted({name for words in found for name in words}))


def _distinct(at: At | None, convert: Callable[[Node], T], what: str) -> list[T]:
    """The values of a list of which each stands there once."""
    if at is None:
        return []
    found: dict[T, At] = {}
    count = 0
    for item in at.items(what):
        count += 1
        value = item.read(convert)
        if value is None:
            continue
        first = found.setdefault(value, item)
        if first is not item:
            item.wrong(f"{_written(value)} is already item {first.path[-1]} of this list", "remove one of the two")
    if count > MAX_COMMUNITIES and what != "peers":
        at.wrong(f"{count} {what} are too many", f"a route carries at most {MAX_COMMUNITIES}")
    return list(found)


def _written(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    numbers = all(isinstance(part, int) for part in value)
    return f"the community {':'.join(map(str, value))}" if numbers else f"the peer {', '.join(map(str, value))}"
