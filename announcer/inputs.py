"""From source events to the next snapshot. Pure, so that a recording of events gives the same snapshots again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from announcer.config import KEY, parse_config_map
from announcer.config.types import Config
from announcer.ipam import allocate
from announcer.model.changes import kept
from announcer.model.errors import ConfigProblem
from announcer.model.net import IPAddress
from announcer.model.objects import ConfigMap, KubeObject, ObjectKey, Service
from announcer.snapshot import (
    DEFAULT_NAMESPACE,
    ConfigView,
    ObjectIndex,
    Snapshot,
    index_objects,
    lose_config,
    take_config,
    update_index,
)
from announcer.sources.events import Replace, SourceEvent

V = TypeVar("V")

#: The ConfigMap that holds the configuration.
CONFIG_MAP_NAME = "bgp-config"


class Allocations(msgspec.Struct, frozen=True, kw_only=True):
    """What the standalone allocator gave, and why it gave nothing."""

    given: Mapping[ObjectKey, tuple[IPAddress, ...]] = {}
    refused: Mapping[ObjectKey, str] = {}


def absorb(snapshot: Snapshot, event: SourceEvent, config: ConfigView, *, standalone: bool) -> Snapshot:
    """The snapshot after a source has delivered ``event``, with ``config`` in force.

    ``standalone``: no cluster allocates addresses, so this function does, for the Services that have none.
    """
    before = ObjectIndex(
        nodes=snapshot.nodes, services=snapshot.services, slices=snapshot.slices, secrets=snapshot.secrets
    )
    index = _index(before, event)
    seen = Snapshot(
        revision=snapshot.revision + 1,
        node_name=snapshot.node_name,
        standalone=standalone,
        synced=snapshot.synced or event.synced,
        complete=(snapshot.synced and snapshot.complete) or not event.problems,
        nodes=index.nodes,
        services=index.services,
        slices=index.slices,
        secrets=index.secrets,
        drain=snapshot.drain,
        lb_mode=snapshot.lb_mode,
    )
    # Addresses depend on nothing else. What is the same as before is the same value: see ``decider``.
    same = seen.services is snapshot.services and config.config is snapshot.config.config
    after = snapshot if same and standalone and snapshot.standalone else with_config(seen, config)
    return msgspec.structs.replace(
        seen,
        config=config,
        allocated=_kept(snapshot.allocated, after.allocated),
        refused=_kept(snapshot.refused, after.refused),
    )


def _index(before: ObjectIndex, event: SourceEvent) -> ObjectIndex:
    if isinstance(event, Replace):
        return index_objects(event.objects, before)
    return update_index(before, event.changed, event.removed)


def with_config(snapshot: Snapshot, view: ConfigView) -> Snapshot:
    """The same objects under another configuration, as ``absorb`` would make it of them."""
    allocations = _allocate(view.config, snapshot.services.values()) if snapshot.standalone else Allocations()
    return msgspec.structs.replace(snapshot, config=view, allocated=allocations.given, refused=allocations.refused)


def config_from_event(before: ConfigView, event: SourceEvent) -> ConfigView:
    """The configuration after a source has delivered ``event``."""
    if isinstance(event, Replace):
        return config_from_objects(before, event.objects) if event.synced else before
    if not any(isinstance(item, ConfigMap) for item in (*event.changed, *event.removed)):
        return before
    # A source that tells changes follows one ConfigMap: what it says of it is all that there is.
    return config_from_objects(before, event.changed)


def config_from_objects(before: ConfigView, objects: Iterable[KubeObject]) -> ConfigView:
    """The configuration in the ConfigMap ``bgp-config``; ``kube-system`` first if several namespaces have one."""
    maps = [item for item in objects if isinstance(item, ConfigMap) and item.key.name == CONFIG_MAP_NAME]
    if not maps:
        problem = f"there is no ConfigMap {CONFIG_MAP_NAME} with the key {KEY}"
        return lose_config(before, ConfigProblem(problem=problem))
    chosen = min(maps, key=lambda item: (item.key.namespace != DEFAULT_NAMESPACE, item.key))
    if KEY not in chosen.data:
        problem = f"the ConfigMap {chosen.key} has no key {KEY}"
        return lose_config(before, ConfigProblem(file=chosen.file, path="data", problem=problem))
    result = parse_config_map(chosen)
    after = take_config(before, result.config, result.problems, chosen.key.namespace)
    return guard_empty(before, after, file=chosen.file, line=chosen.lines.get(KEY, 0))


def secrets_of(view: ConfigView) -> frozenset[ObjectKey]:
    """The Secrets that the configuration in force names."""
    peers = view.config.peers if view.config is not None else ()
    names = {peer.password_secret.name for peer in peers if peer.password_secret is not None}
    return frozenset(ObjectKey(view.namespace, name) for name in names)


def guard_empty(before: ConfigView, after: ConfigView, *, file: str, line: int = 1) -> ConfigView:
    """Refuse a file without peers and pools in place of one that had some.

    It is far more often an editor's accident or a truncated write than the wish to take every route of a node back.
    """
    had = before.config is not None and (before.config.peers or before.config.pools)
    has = after.config is not None and (after.config.peers or after.config.pools)
    if not had or has or after.config is before.config:
        return after
    problem = ConfigProblem(
        file=file,
        line=line,
        problem="the file holds neither peers nor pools, but the one in force does",
        hint="to stop announcing, remove the Services or drain the node; the last good configuration stays",
    )
    return take_config(before, None, (problem,))


def _kept(before: Mapping[ObjectKey, V], found: Mapping[ObjectKey, V]) -> Mapping[ObjectKey, V]:
    """``found``, with the very values of ``before`` where they are equal."""
    if before is found:
        return before
    return kept(before, {key: before[key] if before.get(key) == value else value for key, value in found.items()})


def _allocate(config: Config | None, services: Iterable[Service]) -> Allocations:
    if config is None:
        return Allocations()
    found = allocate(config, tuple(services))
    given = {key: allocation.addresses for key, allocation in found.items() if allocation.addresses}
    refused = {key: allocation.detail for key, allocation in found.items() if not allocation.addresses}
    return Allocations(given=given, refused=refused)
