"""``explain``: the whole decision about one VIP or Service, and exactly one reason code if it is not announced."""

from __future__ import annotations

import ipaddress
from typing import Any

from announcer.model.bgp import Route
from announcer.model.desired import PeerRefusal, Reason, ServiceDecision
from announcer.model.lb import Backend
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.objects import ObjectKey, Service
from announcer.status.report import damping, iso, proof
from announcer.status.sight import Sight
from announcer.status.vip_state import VipState, route_reason, see_vip

SCHEMA = "lockstep.explain/v1"

Json = dict[str, Any]


def explain(sight: Sight, target: str) -> Json:
    """Explain ``target``: an address, or ``namespace/name`` of a Service (``name`` alone: in ``default``).

    ``announced`` is the answer; ``reason`` is None if and only if it is true for every VIP of the target.
    """
    address = _address(target)
    if address is not None:
        return _answer(target, [_explain_vip(sight, address)])
    namespace, _, name = target.rpartition("/")
    key = ObjectKey(namespace or "default", name)
    decision = sight.desired.services.get(key)
    if decision is None:
        return _refusal(target, Reason.SERVICE_DELETED, f"the sources hold no Service {key}")
    if decision.reason is not None:
        return _refusal(target, decision.reason, decision.detail, _service(sight, decision))
    return _answer(target, [_explain_vip(sight, vip) for vip in decision.vips])


def _address(target: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(target)
    except ValueError:
        return None


def _answer(target: str, vips: list[Json]) -> Json:
    refused = [vip for vip in vips if vip["reason"] is not None]
    return {
        "schema": SCHEMA,
        "target": target,
        "announced": not refused,
        "reason": refused[0]["reason"] if refused else None,
        "detail": refused[0]["detail"] if refused else None,
        "vips": vips,
    }


def _refusal(target: str, reason: Reason, detail: str, service: Json | None = None) -> Json:
    return {
        "schema": SCHEMA,
        "target": target,
        "announced": False,
        "reason": reason,
        "detail": detail or None,
        "vips": [],
        "service": service,
    }


def _explain_vip(sight: Sight, vip: IPAddress) -> Json:
    decision = sight.desired.vips.get(vip)
    seen = see_vip(sight, vip)
    reason, detail = seen.reason, seen.detail
    if decision is None:
        refusing = [found for found in sight.desired.services.values() if vip in found.vips and found.reason]
        if refusing:
            reason, detail = refusing[0].reason, refusing[0].detail
    if decision is not None and not sight.desired.synced and seen.state is not VipState.ANNOUNCED:
        reason, detail = Reason.SOURCES_NOT_SYNCED, "the source has not delivered its first complete state"
    services = [sight.desired.services[key] for key in decision.services] if decision is not None else []
    return {
        "vip": str(vip),
        "state": seen.state,
        "reason": reason,
        "detail": detail or None,
        "pool": decision.pool if decision is not None else None,
        "services": [_service(sight, service) for service in services],
        "frontends": _frontends(sight, vip),
        "proof": proof(sight, vip),
        "damping": damping(sight, vip),
        "devices": [
            {"name": device.name, "hook": device.hook, "attached": device.attached, "problem": device.problem or None}
            for device in sight.observed.datapath.devices.values()
        ],
        "peers": [_peer(sight, name, decision.routes if decision else ()) for name in sorted(sight.desired.neighbors)]
        + [_refused(refusal) for refusal in sight.desired.refused_peers],
    }


def _service(sight: Sight, decision: ServiceDecision) -> Json:
    service: Service | None = sight.snapshot.services.get(decision.key)
    allocation = None
    if service is not None:
        if service.ingress:
            allocation = "status.loadBalancer.ingress"
        elif decision.vips:
            allocation = "allocated from the pools by this agent"
    return {
        "service": str(decision.key),
        "vips": [str(vip) for vip in decision.vips],
        "allocation": allocation,
        "traffic_policy": service.external_traffic_policy if service is not None else None,
        "reason": decision.reason,
        "detail": decision.detail or None,
        "notes": list(decision.notes),
    }


def _frontends(sight: Sight, vip: IPAddress) -> list[Json]:
    seen = sight.observed.datapath
    keys = sorted(key for key in {*sight.desired.frontends, *seen.frontends} if key.vip == vip)
    found: list[Json] = []
    for key in keys:
        wanted, present = sight.desired.frontends.get(key), seen.frontends.get(key)
        backends, ending = (wanted.backends, wanted.terminating) if wanted is not None else ((), ())
        found.append(
            {
                "frontend": str(key),
                "desired": wanted is not None,
                "programmed": wanted is not None and present == wanted and key not in seen.damaged,
                "damage": seen.damaged.get(key),
                "source_ranges": _texts(wanted.source_ranges) if wanted is not None else None,
                "mode": wanted.mode if wanted is not None else None,
                "backends": list(map(_backend, backends)),
                "terminating": list(map(_backend, ending)),
            }
        )
    return found


def _backend(backend: Backend) -> Json:
    return {
        "address": str(backend.address),
        "port": backend.port,
        "local": backend.local,
        "node": str(backend.node) if backend.node is not None else None,
    }


def _texts(ranges: tuple[IPNetwork, ...] | None) -> list[str] | None:
    """The clients that are let in; None: everybody."""
    return None if ranges is None else [str(prefix) for prefix in ranges]


def _peer(sight: Sight, name: str, prefixes: tuple[IPNetwork, ...]) -> Json:
    peer = sight.observed.bgp.peers.get(name)
    return {
        "peer": name,
        "selected": True,
        "session": peer.state if peer is not None else None,
        "since": iso(peer.since) if peer is not None else None,
        "last_error": peer.last_error if peer is not None else None,
        "routes": [_route(sight, name, nlri) for nlri in prefixes],
    }


def _route(sight: Sight, peer_name: str, nlri: IPNetwork) -> Json:
    wish = sight.desired.rib.get(peer_name, {}).get(nlri)
    peer = sight.observed.bgp.peers.get(peer_name)
    entry = peer.rib.get(nlri) if peer is not None else None
    reason, detail = route_reason(sight, peer_name, nlri) if wish is not None else (None, "")
    return {
        "prefix": str(nlri),
        "desired": wish is not None,
        "attributes": attributes(wish.route) if wish is not None else None,
        "acknowledged": entry is not None and entry.acknowledged and not entry.withdrawing,
        "sent": entry is not None and entry.sent and not entry.withdrawing,
        "withdrawing": entry is not None and entry.withdrawing,
        "reason": reason,
        "detail": detail or None,
    }


def attributes(route: Route) -> Json:
    """The path attributes of a route, as people write them."""
    return {
        "next_hop": str(route.next_hop) if route.next_hop is not None else "self",
        "local_pref": route.local_pref,
        "communities": [f"{high}:{low}" for high, low in route.communities],
        "large_communities": [":".join(map(str, large)) for large in route.large_communities],
        "med": route.med,
        "prepend": route.prepend,
        "origin": route.origin,
    }


def _refused(refusal: PeerRefusal) -> Json:
    return {
        "peer": refusal.peer,
        "selected": False,
        "reason": refusal.reason,
        "detail": refusal.detail or None,
        "routes": [],
    }
