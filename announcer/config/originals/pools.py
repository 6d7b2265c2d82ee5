"""What the originals did differently with ``address-pools``."""

from __future__ import annotations

from announcer.config.communities import WELL_KNOWN
from announcer.config.originals.addresses import Range, inspect_addresses, read_ranges
from announcer.config.originals.aggregates import inspect_aggregates
from announcer.config.originals.dialects import Dialect, unknown_key
from announcer.config.originals.notes import Here, Notes
from announcer.yamltree import YamlMap, YamlText, plain_value


def inspect_pools(root: Here, dialect: Dialect, notes: Notes) -> None:
    """Remarks about the pools and their advertisements."""
    has_peers = next(root.items("peers"), None) is not None
    internal = any(peer.text("my-asn") and peer.text("my-asn") == peer.text("peer-asn") for peer in root.items("peers"))
    aliases = {key.text() for key in below.each_key()} if (below := root.get("bgp-communities")) is not None else set()
    pools = [pool for pool in root.items("address-pools") if isinstance(pool.node, YamlMap)]
    ranges: list[list[Range]] = []
    for pool in pools:
        if notes.full:
            return
        for key in pool.each_key():
            notes.add(key, unknown_key(dialect, "pool", key.text()))
        _protocol(pool, dialect, notes)
        for item in pool.items("addresses"):
            inspect_addresses(item, dialect, notes)
        ranges.append(read_ranges(pool))
        advertisements = list(pool.items("bgp-advertisements"))
        for one in (advertisements or [pool]) if pool.text("protocol") == "bgp" else []:
            if has_peers:
                _origin(one, dialect, notes)
            if internal:
                _local_pref(one, dialect, notes)
        longest = max((found.longest for found in ranges[-1] if found.first.version == 4), default=0)
        for one in advertisements:
            _advertisement(one, longest, aliases, dialect, notes)
        _repeated(advertisements, dialect, notes)
    inspect_aggregates(pools, ranges, dialect, notes)


def _protocol(pool: Here, dialect: Dialect, notes: Notes) -> None:
    at = pool.get("protocol")
    if at is None or at.text() != "layer2":
        return
    if dialect.cilium:
        notes.add(at, f"{dialect} took it, gave Services addresses of this pool, and never announced them")
    else:
        notes.add(at, f"{dialect} took it and answered ARP and NDP for these addresses; Lockstep has no layer2 mode")


def _local_pref(at: Here, dialect: Dialect, notes: Notes) -> None:
    if at.get("localpref") is not None:
        return
    native = " in its native mode" if dialect.minor >= 12 else ""
    notes.add(
        at.without("localpref"),
        f"{dialect}{native} sent LOCAL_PREF 0 to iBGP peers, which loses against the 100 of everybody else; "
        'Lockstep sends 100; "localpref: 0" restores it',
    )


def _origin(at: Here, dialect: Dialect, notes: Notes) -> None:
    """It decides between paths that are equal up to there, so both at once would not share the traffic."""
    if at.get("origin") is None:
        native = " in its native mode" if dialect.minor >= 12 else ""
        text = 'sent ORIGIN incomplete, and Lockstep sends IGP, which wins against it; "origin: incomplete" restores it'
        notes.add(at.without("origin"), f"{dialect}{native} {text}")


def _advertisement(at: Here, longest: int, aliases: set[str], dialect: Dialect, notes: Notes) -> None:
    for key in at.each_key():
        notes.add(key, unknown_key(dialect, "advertisement", key.text()))
    length = at.text("aggregation-length") or "32"
    if dialect.minor < 12 and length.isdecimal() and len(length) < 3 and int(length) < longest:
        notes.add(
            at.get("aggregation-length") or at.without("aggregation-length"),
            f"{dialect} refused the whole file: a /{longest} is in the pool once ranges are cut into prefixes",
        )
    _communities(at, aliases, dialect, notes)


def _communities(at: Here, aliases: set[str], dialect: Dialect, notes: Notes) -> None:
    seen: set[str] = set()
    for item in at.items("communities"):
        word = item.text()
        if word in WELL_KNOWN and word not in aliases:
            notes.add(item, f"{dialect} refused the whole file: it knew no well-known names")
        elif word in seen and dialect.minor < 12:
            notes.add(item, f"{dialect} took it twice")
        elif isinstance(item.node, YamlText) and item.node.plain and ":" in word:
            notes.add(item, f"{dialect} read it as the community {word[:40]}, with or without quotes")
        seen.add(word)


def _repeated(advertisements: list[Here], dialect: Dialect, notes: Notes) -> None:
    """Two that make the same prefixes of one pool."""
    seen: dict[tuple[str, str], Here] = {}
    for at in advertisements:
        lengths = (at.text("aggregation-length") or "32", at.text("aggregation-length-v6") or "128")
        first = seen.setdefault(lengths, at)
        if first is at:
            continue
        if plain_value(first.node) != plain_value(at.node):
            notes.add(at, f"{dialect} took it and sent the one or the other, as chance had it")
        elif dialect.minor < 12:
            notes.add(at, f"{dialect} took it; the second changed nothing")
