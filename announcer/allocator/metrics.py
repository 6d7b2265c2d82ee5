"""Metrics of the allocator, made from its state at the moment of the scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from announcer.config.types import Config
from announcer.ipam import Assignment
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What can be seen of an allocator. ``writes``: by result (``ok``, ``conflict``, ``error``)."""

    leads: bool = False
    synced: bool = False
    config: Config | None = None
    stale: bool = False
    stale_seconds: float = 0.0
    assignments: Mapping[ObjectKey, Assignment] = {}
    writes: Mapping[str, int] = {}
    dropped_events: int = 0


class AllocatorCollector(Collector):
    """``aliases``: also under the names of MetalLB's controller."""

    def __init__(self, look: Callable[[], Sight], *, aliases: bool) -> None:
        self._look = look
        self._aliases = aliases

    def collect(self) -> Iterator[Metric]:
        """All metrics of this moment."""
        sight = self._look()
        prefixes = ["lockstep_allocator", *(["metallb_allocator"] if self._aliases else [])]
        for prefix in prefixes:
            yield from _pools(sight, prefix, "_total" if prefix.startswith("metallb") else "")
        yield from _services(sight)
        if self._aliases:
            given = sum(bool(item.addresses) for item in sight.assignments.values())
            yield GaugeMetricFamily(
                "metallb_allocator_services_allocated_total", "Services with an address", value=given
            )
        yield GaugeMetricFamily("lockstep_allocator_leader", "1 if this one writes", value=float(sight.leads))
        yield GaugeMetricFamily("lockstep_allocator_synced", "1 if all was read once", value=float(sight.synced))
        loaded, stale = float(sight.config is not None), float(sight.config is not None and sight.stale)
        yield GaugeMetricFamily("lockstep_allocator_config_loaded", "1 if a configuration is in force", value=loaded)
        yield GaugeMetricFamily("lockstep_allocator_config_stale", "1 if it is not the newest", value=stale)
        yield GaugeMetricFamily(
            "lockstep_allocator_source_stale_seconds",
            "Since when the API server is not heard",
            value=sight.stale_seconds,
        )
        writes = CounterMetricFamily("lockstep_allocator_writes", "Writes of a status", labels=["result"])
        for result in ("ok", "conflict", "error"):
            writes.add_metric([result], sight.writes.get(result, 0))
        yield writes
        yield CounterMetricFamily(
            "lockstep_allocator_events_dropped",
            "Events not sent, because there were too many",
            value=sight.dropped_events,
        )


def _pools(sight: Sight, prefix: str, suffix: str) -> Iterator[Metric]:
    size = GaugeMetricFamily(f"{prefix}_addresses{suffix}", "Addresses of a pool", labels=["pool"])
    used = GaugeMetricFamily(f"{prefix}_addresses_in_use{suffix}", "Those that Services hold", labels=["pool"])
    held: dict[str, set[IPAddress]] = {}
    for item in sight.assignments.values():
        for address in item.addresses:
            pool = sight.config.pool_of(address) if sight.config is not None else None
            if pool is not None:
                held.setdefault(pool.name, set()).add(address)
    for pool in sight.config.pools if sight.config is not None else ():
        size.add_metric([pool.name], float(sum(item.size for item in pool.ranges)))
        used.add_metric([pool.name], float(len(held.get(pool.name, ()))))
    yield from (size, used)


def _services(sight: Sight) -> Iterator[Metric]:
    given = sum(bool(item.addresses) for item in sight.assignments.values())
    yield GaugeMetricFamily("lockstep_allocator_services_allocated", "Services with an address", value=given)
    refused = GaugeMetricFamily(
        "lockstep_allocator_services_refused", "Services that do not have what they ask for", labels=["code"]
    )
    codes = Counter(str(item.code) for item in sight.assignments.values() if item.code)
    for code, count in sorted(codes.items()):
        refused.add_metric([code], count)
    yield refused
