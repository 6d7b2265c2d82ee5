"""From claims to VIPs: the frontends of each, and whether this node may announce it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from announcer.config.types import Advertisement, Config, Pool
from announcer.decide.ports import NO_NODES, Port, ports_of
from announcer.decide.reserved import Reserved
from announcer.decide.services import Claims
from announcer.model.bgp import Neighbor
from announcer.model.desired import BackendCount, Reason, VipDecision
from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import Family, IPAddress, IPNetwork, aggregate
from announcer.model.objects import Node, ObjectKey, Service
from announcer.snapshot import Snapshot

#: Set by operators and cloud controllers on nodes that must not attract load-balancer traffic (KEP-1143).
EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
#: A condition that is "True" until the node's routes to its Pods are there (k8s.io/api/core/v1, NodeConditionType).
NETWORK_UNAVAILABLE = "NetworkUnavailable"


#: One for all VIPs of which there is nothing to say.
NOTHING: Mapping[Any, Any] = MappingProxyType({})


class VipResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One VIP, and what to say of the Services behind it.

    ``conflicts``: those of which a port went to another Service, with the words for it; ``notes``: remarks.
    ``by_nodes``: nodes by way of which packets are sent, or would be if an address of them were known.
    """

    decision: VipDecision
    conflicts: Mapping[ObjectKey, str] = NOTHING
    notes: Mapping[ObjectKey, set[str]] = NOTHING
    by_nodes: frozenset[str] = NO_NODES


class Vips(msgspec.Struct, frozen=True, kw_only=True):
    """All VIPs that some Service rightfully claims, and all frontends to be served.

    ``by_nodes``: by way of which nodes packets are sent, and for how many VIPs.
    """

    results: dict[IPAddress, VipResult] = {}
    decisions: dict[IPAddress, VipDecision] = {}
    frontends: dict[FrontendKey, Frontend] = {}
    by_nodes: dict[str, int] = {}


def decide_vips(
    snapshot: Snapshot,
    config: Config,
    reserved: Reserved,
    claims: Claims,
    neighbors: tuple[Neighbor, ...],
    before: Vips,
    touched: Iterable[IPAddress],
) -> Vips:
    """``before``, with new decisions for the VIPs that are ``touched``."""
    results, decisions, frontends = dict(before.results), dict(before.decisions), dict(before.frontends)
    by_nodes = Counter(before.by_nodes)
    for vip in touched:
        gone = results.pop(vip, None)
        if gone is not None:
            del decisions[vip]
            by_nodes.subtract(gone.by_nodes)
            for key in gone.decision.frontends:
                del frontends[key]
        services = claims.by_vip.get(vip)
        if services is not None:
            found, ports = _decide_vip(snapshot, config, reserved, vip, services, neighbors)
            results[vip], decisions[vip] = found, found.decision
            frontends.update((key, port.frontend) for key, port in ports.items())
            by_nodes.update(found.by_nodes)
    return Vips(results=results, decisions=decisions, frontends=frontends, by_nodes=+by_nodes)


def _decide_vip(
    snapshot: Snapshot,
    config: Config,
    reserved: Reserved,
    vip: IPAddress,
    services: tuple[Service, ...],
    neighbors: tuple[Neighbor, ...],
) -> tuple[VipResult, dict[FrontendKey, Port]]:
    conflicts: dict[ObjectKey, str] = {}
    notes: dict[ObjectKey, set[str]] = {}
    pool = next(pool for pool in config.pools if pool.contains(vip))
    ports = ports_of(snapshot, vip, services, pool, conflicts, notes)
    carrying = tuple(neighbor for neighbor in neighbors if Family.of(vip) in neighbor.carried)
    chosen = _advertisements(pool, snapshot.node, carrying)
    routes, refused = _routes(reserved, vip, chosen)
    reason, detail = _reason(snapshot.node, ports, neighbors, chosen)
    if reason is Reason.NOT_ADVERTISED and not carrying:
        reason = Reason.FAMILY_NOT_CARRIED
        detail = f'no session of this node carries {Family.of(vip).label} routes: see "families" of its peers'
    if reason is None and not routes:
        reason, detail = Reason.NOT_ADVERTISED, refused
    decision = VipDecision(
        vip=vip,
        services=tuple(service.key for service in services),
        pool=pool.name,
        reason=reason,
        detail=detail or refused,
        routes=routes,
        frontends=tuple(sorted(ports)),
        backends=_count(ports.values()),
    )
    by_nodes = NO_NODES.union(*(port.by_nodes for port in ports.values())) or NO_NODES
    found = VipResult(decision=decision, conflicts=conflicts or NOTHING, notes=notes or NOTHING, by_nodes=by_nodes)
    return found, ports


def _reason(
    node: Node | None,
    ports: dict[FrontendKey, Port],
    neighbors: tuple[Neighbor, ...],
    advertisements: tuple[Advertisement, ...],
) -> tuple[Reason | None, str]:
    """Why this node may not announce a VIP; ``None`` if it may.

    A port without endpoints anywhere keeps no other port of the VIP from being announced: no node could serve it
    better. A port that other nodes could serve and this one cannot (traffic policy Local) does: this node would
    attract connections that belong elsewhere.
    """
    if node is not None and EXCLUDE_LABEL in node.labels:
        return Reason.NODE_EXCLUDED, f"the node has the label {EXCLUDE_LABEL}"
    if node is not None and node.conditions.get(NETWORK_UNAVAILABLE) == "True":
        return Reason.NODE_NETWORK_UNAVAILABLE, f"the node has the condition {NETWORK_UNAVAILABLE}"
    if not any(port.serving or port.keeps for port in ports.values()):
        return Reason.NO_ENDPOINTS, _no_endpoints(ports.values())
    elsewhere = [key for key, port in ports.items() if port.serving and not port.attracts]
    if elsewhere:
        return Reason.NO_LOCAL_ENDPOINTS, _no_local_endpoints(ports[min(elsewhere)])
    if not neighbors:
        return Reason.NO_PEERS, "no peer of the bgp-config selects this node"
    if not advertisements:
        return Reason.NOT_ADVERTISED, "no advertisement of the pool is for this node and one of its peers"
    return None, ""


def _no_endpoints(ports: Iterable[Port]) -> str:
    known = {(one.address, one.port) for port in ports for one in port.known}
    draining = {one for port in ports for one in port.draining}
    if draining:
        return f"{len(known)} endpoints known, none of them ready; {len(draining)} terminate and still answer"
    return f"{len(known)} endpoints known, none of them ready" if known else "no endpoints at all"


def _no_local_endpoints(port: Port) -> str:
    key, last = port.frontend.key, port.frontend.backends
    if port.missed:
        return f"{key} has no endpoints on this node, and those on others cannot be reached; {port.remarks[-1]}"
    if last:
        return f"{key} has ready endpoints on other nodes; the {len(last)} on this node terminate"
    return f"{key} has ready endpoints, but none on this node"


def _advertisements(pool: Pool, node: Node | None, neighbors: tuple[Neighbor, ...]) -> tuple[Advertisement, ...]:
    """Those of the pool that are for this node and at least one of its peers."""
    labels = node.labels if node is not None else {}
    names = [neighbor.name for neighbor in neighbors]
    return tuple(ad for ad in pool.advertisements if ad.selects(labels) and any(map(ad.reaches, names)))


def _routes(
    reserved: Reserved, vip: IPAddress, advertisements: tuple[Advertisement, ...]
) -> tuple[tuple[IPNetwork, ...], str]:
    """The prefixes that cover ``vip``, shortest first, and in words which one may not be announced."""
    routes: list[IPNetwork] = []
    refused = ""
    for length in sorted({advertisement.length(vip.version) for advertisement in advertisements}):
        route = aggregate(vip, length)
        covered = reserved.covered_by(route)
        if covered:
            refused = f"the aggregate {route} covers {covered}"
        else:
            routes.append(route)
    return tuple(routes), refused


def _count(ports: Collection[Port]) -> BackendCount:
    """Endpoints by address: one that serves two ports of the VIP is one backend to an operator."""
    return BackendCount(
        total=_distinct(port.known for port in ports),
        serving=_distinct(port.serving for port in ports),
        local=_distinct(tuple(one for one in port.serving if one.local) for port in ports),
    )


def _distinct(groups: Iterable[tuple[Backend, ...]]) -> int:
    """How many addresses. They are all of the VIP's family, so their numbers tell them apart, and faster."""
    return len({int(one.address) for group in groups for one in group})
