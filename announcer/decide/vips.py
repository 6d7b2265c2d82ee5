"""From claims to VIPs: the frontends of each, and whether this node may announce it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from announcer.config.types import Advertisement, Config, Pool
from announcer.decide.aggregates import covers
from announcer.decide.endpoints import PortBackends, backends_of
from announcer.decide.services import Claims
from announcer.model.bgp import Neighbor
from announcer.model.desired import BackendCount, Reason, VipDecision
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import IPAddress, IPNetwork, aggregate
from announcer.model.objects import Node, ObjectKey, Service, TrafficPolicy
from announcer.snapshot import Snapshot

#: Set by operators and cloud controllers on nodes that must not attract load-balancer traffic (KEP-1143).
EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"


class _Port(msgspec.Struct, frozen=True, kw_only=True):
    """One frontend with what stands behind it; ``local_only`` where the Service wants local endpoints alone."""

    frontend: Frontend
    found: PortBackends
    local_only: bool


class Vips(msgspec.Struct, frozen=True, kw_only=True):
    """All VIPs, their frontends, and the Services of which a port went to another Service (with the words for it)."""

    decisions: dict[IPAddress, VipDecision] = {}
    frontends: dict[FrontendKey, Frontend] = {}
    conflicts: dict[ObjectKey, str] = {}


def decide_vips(snapshot: Snapshot, config: Config, claims: Claims, neighbors: tuple[Neighbor, ...]) -> Vips:
    """A decision for every VIP that some Service rightfully claims, and all frontends to be served."""
    vips: dict[IPAddress, VipDecision] = {}
    frontends: dict[FrontendKey, Frontend] = {}
    conflicts: dict[ObjectKey, str] = {}
    for vip, services in claims.by_vip.items():
        ports = _ports_of(snapshot, vip, services, conflicts)
        frontends.update((key, port.frontend) for key, port in ports.items())
        pool = next(pool for pool in config.pools if pool.contains(vip))
        chosen = _advertisements(pool, snapshot.node, neighbors)
        routes, refused = _routes(snapshot, config, vip, chosen)
        reason, detail = _reason(snapshot.node, ports, neighbors, chosen)
        if reason is None and not routes:
            reason, detail = Reason.NOT_ADVERTISED, refused
        vips[vip] = VipDecision(
            vip=vip,
            services=tuple(service.key for service in services),
            pool=pool.name,
            reason=reason,
            detail=detail or refused,
            routes=routes,
            frontends=tuple(sorted(ports)),
            backends=_count(ports.values()),
        )
    return Vips(decisions=vips, frontends=frontends, conflicts=conflicts)


def _ports_of(
    snapshot: Snapshot, vip: IPAddress, services: tuple[Service, ...], conflicts: dict[ObjectKey, str]
) -> dict[FrontendKey, _Port]:
    """The frontends of a VIP. A port that two Services claim goes to the older one; ``conflicts`` is told of it."""
    ports: dict[FrontendKey, _Port] = {}
    owner: dict[FrontendKey, Service] = {}
    for service in services:
        slices = snapshot.slices.get(service.key, ())
        local_only = service.external_traffic_policy is TrafficPolicy.LOCAL
        for port in service.ports:
            key = FrontendKey(vip, port.protocol, port.port)
            if key in owner:
                if owner[key] is not service:
                    conflicts[service.key] = f"{key} is served for {owner[key].key}, which is older"
                continue
            owner[key] = service
            found = backends_of(slices, port, version=vip.version, node_name=snapshot.node_name)
            backends = found.local if local_only else found.serving
            ports[key] = _Port(frontend=Frontend(key=key, backends=backends), found=found, local_only=local_only)
    return ports


def _reason(
    node: Node | None,
    ports: dict[FrontendKey, _Port],
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
    if not any(port.found.serving for port in ports.values()):
        known = len({endpoint for port in ports.values() for endpoint in port.found.known})
        return Reason.NO_ENDPOINTS, f"{known} endpoints known, none of them ready" if known else "no endpoints at all"
    elsewhere = [key for key, port in ports.items() if port.found.serving and not port.frontend.backends]
    if elsewhere:
        return Reason.NO_LOCAL_ENDPOINTS, f"{min(elsewhere)} has ready endpoints, but none on this node"
    if not neighbors:
        return Reason.NO_PEERS, "no peer of the bgp-config selects this node"
    if not advertisements:
        return Reason.NOT_ADVERTISED, "no advertisement of the pool is for this node and one of its peers"
    return None, ""


def _advertisements(pool: Pool, node: Node | None, neighbors: tuple[Neighbor, ...]) -> tuple[Advertisement, ...]:
    """Those of the pool that are for this node and at least one of its peers."""
    labels = node.labels if node is not None else {}
    names = [neighbor.name for neighbor in neighbors]
    return tuple(ad for ad in pool.advertisements if ad.selects(labels) and any(map(ad.reaches, names)))


def _routes(
    snapshot: Snapshot, config: Config, vip: IPAddress, advertisements: tuple[Advertisement, ...]
) -> tuple[tuple[IPNetwork, ...], str]:
    """The prefixes that cover ``vip``, shortest first, and in words which one may not be announced."""
    routes: list[IPNetwork] = []
    refused = ""
    for length in sorted({advertisement.length(vip.version) for advertisement in advertisements}):
        route = aggregate(vip, length)
        covered = covers(route, snapshot, config)
        if covered:
            refused = f"the aggregate {route} covers {covered}"
        else:
            routes.append(route)
    return tuple(routes), refused


def _count(ports: Iterable[_Port]) -> BackendCount:
    """Endpoints by address: one that serves two ports of the VIP is one backend to an operator."""
    total: set[IPAddress] = set()
    serving: set[IPAddress] = set()
    local: set[IPAddress] = set()
    for port in ports:
        total.update(address for address, _ in port.found.known)
        serving.update(backend.address for backend in port.found.serving)
        local.update(backend.address for backend in port.found.local)
    return BackendCount(total=len(total), serving=len(serving), local=len(local))
