"""Aggregates that two pools share: a range may begin or end in the middle of one."""

from __future__ import annotations

from collections.abc import Iterator

from announcer.config.originals.addresses import Range
from announcer.config.originals.dialects import Dialect
from announcer.config.originals.notes import Here, Notes
from announcer.model.net import IPNetwork, aggregate
from announcer.yamltree import plain_value

_LENGTH_KEYS = {4: ("aggregation-length", 32), 6: ("aggregation-length-v6", 128)}


def inspect_aggregates(pools: list[Here], ranges: list[list[Range]], dialect: Dialect, notes: Notes) -> None:
    """Remark every prefix that two pools make with different attributes.

    Pools have no address in common, so two can only meet in the aggregates around the ends of their ranges.
    """
    makers: dict[IPNetwork, tuple[int, str]] = {}
    for index, (pool, own) in enumerate(zip(pools, ranges, strict=True)):
        done: set[tuple[int, int]] = set()
        for at in list(pool.items("bgp-advertisements")) or [pool]:
            if notes.full:
                return
            attributes = "" if at is pool else _attributes(at)
            for prefix in _edges(at, own, done):
                other, theirs = makers.setdefault(prefix, (index, attributes))
                if other != index and theirs != attributes:
                    name = f"address-pools[{pools[other].path[-1]}]"
                    notes.add(
                        at,
                        f"{dialect} announced {prefix}, which {name} makes as well, with the attributes of the one or "
                        "the other, as chance had it; Lockstep merges them: all communities, the higher LOCAL_PREF",
                    )
                    break


def _edges(at: Here, ranges: list[Range], done: set[tuple[int, int]]) -> Iterator[IPNetwork]:
    """The prefixes of one advertisement that hold an end of a range; none if another one of the pool makes them too."""
    for version, (key, full) in _LENGTH_KEYS.items():
        word = at.text(key) or str(full)
        length = int(word) if word.isdecimal() and len(word) < 4 else full
        if length >= full or (version, length) in done:
            continue
        done.add((version, length))
        for found in ranges:
            if found.first.version == version:
                yield aggregate(found.first, length)
                yield aggregate(found.last, length)


def _attributes(at: Here) -> str:
    """The same text for the same attributes; empty for the defaults."""
    value = plain_value(at.node)
    if not isinstance(value, dict):
        return ""
    kept = {key: text for key, text in value.items() if not str(key).startswith("aggregation-length")}
    return repr(sorted(kept.items(), key=str)) if kept else ""
