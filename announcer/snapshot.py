"""The inputs of a decision, all in one value.

A snapshot is everything that this node was told: the Kubernetes objects, the configuration that counts, and whether
every source has delivered its first complete state. It is made from source events by pure functions, so a decision can
be repeated from a recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from operator import is_
from typing import Any

import msgspec

from announcer.config.types import Config
from announcer.model.changes import kept
from announcer.model.errors import ConfigProblem
from announcer.model.lb import LbMode
from announcer.model.net import IPAddress
from announcer.model.objects import ConfigMap, EndpointSlice, KubeObject, Node, ObjectKey, Secret, Service


class ConfigState(StrEnum):
    """What became of the last bgp-config that was read.

    ``applied``: it counts. ``stale``: it is wrong and the last good one counts. ``invalid``: it is wrong and there is
    no good one. ``missing``: there is none; the last good one, if any, counts.
    """

    APPLIED = "applied"
    STALE = "stale"
    INVALID = "invalid"
    MISSING = "missing"


#: Where the bgp-config is looked for first, and where the Secrets are that a file names.
DEFAULT_NAMESPACE = "kube-system"


class ConfigView(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that counts, and what is wrong with the one that was read last.

    ``namespace``: where the Secrets are that it names.
    """

    state: ConfigState = ConfigState.MISSING
    config: Config | None = None
    problems: tuple[ConfigProblem, ...] = ()
    namespace: str = DEFAULT_NAMESPACE


def take_config(
    before: ConfigView,
    config: Config | None,
    problems: tuple[ConfigProblem, ...],
    namespace: str = DEFAULT_NAMESPACE,
) -> ConfigView:
    """The view after a bgp-config was read: a good one replaces, a bad one leaves the last good one in force."""
    if config is not None:
        kept = before.config if config == before.config else config
        return ConfigView(state=ConfigState.APPLIED, config=kept, namespace=namespace)
    state = ConfigState.STALE if before.config is not None else ConfigState.INVALID
    return msgspec.structs.replace(before, state=state, problems=problems)


def lose_config(before: ConfigView, problem: ConfigProblem) -> ConfigView:
    """The view after the bgp-config went away: the last good one stays in force."""
    return msgspec.structs.replace(before, state=ConfigState.MISSING, problems=(problem,))


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``decide`` looks at.

    ``complete`` False: the source was read, but some of it could not be understood and no earlier good state of that
    part is known. What is missing then is missing in the reading, not in the world.
    ``standalone``: no cluster allocates addresses, so this agent does, for the Services that have none.
    ``allocated``: addresses that this agent's own allocator gave, for Services that nobody else gave any (standalone).
    ``refused``: for Services that it could give none, why. ``drain``: on whose word, given on this node itself, it is
    to be taken out of service; empty if nobody said so. ``nodes_fresh`` False: what ``nodes`` says of others may be
    minutes old, too old to leave on the strength of it. ``lb_mode``: that of the installation.
    """

    revision: int
    node_name: str
    standalone: bool = True
    synced: bool = False
    complete: bool = True
    config: ConfigView = ConfigView()
    nodes: Mapping[ObjectKey, Node] = {}
    services: Mapping[ObjectKey, Service] = {}
    slices: Mapping[ObjectKey, tuple[EndpointSlice, ...]] = {}
    secrets: Mapping[ObjectKey, Secret] = {}
    allocated: Mapping[ObjectKey, tuple[IPAddress, ...]] = {}
    refused: Mapping[ObjectKey, str] = {}
    drain: str = ""
    nodes_fresh: bool = True
    lb_mode: LbMode = LbMode.DSR

    @property
    def node(self) -> Node | None:
        """This node's own object."""
        return self.nodes.get(ObjectKey("", self.node_name))


class ObjectIndex(msgspec.Struct, frozen=True, kw_only=True):
    """Objects by kind and key; slices by the Service that they belong to."""

    nodes: Mapping[ObjectKey, Node] = {}
    services: Mapping[ObjectKey, Service] = {}
    slices: Mapping[ObjectKey, tuple[EndpointSlice, ...]] = {}
    secrets: Mapping[ObjectKey, Secret] = {}


def index_objects(objects: Iterable[KubeObject], before: ObjectIndex | None = None) -> ObjectIndex:
    """Sort objects into an index. Slices of one Service are ordered by name, so that equal sets give equal values.

    What holds the very objects that it holds in ``before`` is the same value as there.
    """
    known = before or ObjectIndex()
    nodes: dict[ObjectKey, Node] = {}
    services: dict[ObjectKey, Service] = {}
    slices: dict[ObjectKey, list[EndpointSlice]] = {}
    secrets: dict[ObjectKey, Secret] = {}
    for item in objects:
        match item:
            case Node():
                nodes[item.key] = item
            case Service():
                services[item.key] = item
            case EndpointSlice():
                slices.setdefault(item.service, []).append(item)
            case Secret():
                secrets[item.key] = item
            case ConfigMap():
                pass  # ``inputs`` looks for the one that counts
    ordered = {owner: _ordered(found, known.slices.get(owner, ())) for owner, found in slices.items()}
    return ObjectIndex(
        nodes=kept(known.nodes, nodes),
        services=kept(known.services, services),
        slices=kept(known.slices, ordered),
        secrets=kept(known.secrets, secrets),
    )


def _ordered(found: list[EndpointSlice], before: tuple[EndpointSlice, ...]) -> tuple[EndpointSlice, ...]:
    if len(found) > 1:
        found.sort(key=lambda one: one.key)
    return before if len(before) == len(found) and all(map(is_, before, found)) else tuple(found)


def update_index(index: ObjectIndex, changed: Iterable[KubeObject], removed: Iterable[KubeObject]) -> ObjectIndex:
    """The index after some objects changed; the same as ``index_objects`` of all of them, at the cost of some.

    A mapping is copied only if something in it differs. ``removed`` holds the objects as the index has them.
    """
    copies: dict[str, dict[ObjectKey, Any]] = {}

    def place(name: str) -> dict[ObjectKey, Any]:
        if name not in copies:
            copies[name] = dict(getattr(index, name))
        return copies[name]

    for item in removed:
        if isinstance(item, EndpointSlice):
            _place_slice(place("slices"), item.service, item.key, None)
        elif type(item) in _PLACES:
            place(_PLACES[type(item)]).pop(item.key, None)
    for item in changed:
        if isinstance(item, EndpointSlice):
            _place_slice(place("slices"), item.service, item.key, item)
        elif type(item) in _PLACES:
            place(_PLACES[type(item)])[item.key] = item
    return msgspec.structs.replace(index, **copies)


_PLACES: dict[type[KubeObject], str] = {Node: "nodes", Service: "services", Secret: "secrets"}


def _place_slice(
    slices: dict[ObjectKey, tuple[EndpointSlice, ...]], owner: ObjectKey, key: ObjectKey, item: EndpointSlice | None
) -> None:
    rest = [one for one in slices.get(owner, ()) if one.key != key]
    if item is not None:
        rest.append(item)
    if rest:
        slices[owner] = tuple(sorted(rest, key=lambda one: one.key))
    else:
        slices.pop(owner, None)
