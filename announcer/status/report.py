"""``/v1/status``: the whole node in one JSON value (schema ``lockstep.status/v1``)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from announcer.consistency import check
from announcer.model.bgp import PeerObserved, PeerState
from announcer.model.desired import PodCidrDecision, Reason
from announcer.model.lb import Mode
from announcer.model.net import Family, IPAddress, by_number
from announcer.plan import drain_is_over, held_until
from announcer.snapshot import ConfigView
from announcer.status.health import health_checks
from announcer.status.pieces import Work, at_once, each
from announcer.status.sight import Sight
from announcer.status.vip_state import VipState, see_vip

SCHEMA = "lockstep.status/v1"

Json = dict[str, Any]


def status(sight: Sight) -> Json:
    """The status of this node."""
    return at_once(status_bit_by_bit(sight))


def status_bit_by_bit(sight: Sight) -> Work[Json]:
    """The same, with pauses."""
    all_vips = yield from vips(sight)
    datapath = yield from _datapath(sight)
    consistency = yield from _consistency(sight)
    return {
        "schema": SCHEMA,
        "node": sight.snapshot.node_name,
        "revision": sight.snapshot.revision,
        "config": _config(sight.snapshot.config),
        "sources": _sources(sight),
        "peers": peers(sight),
        "refused_peers": [
            {"name": refusal.peer, "reason": refusal.reason, "detail": refusal.detail or None}
            for refusal in sight.desired.refused_peers
        ],
        "vips": all_vips,
        "services": services(sight),
        "health_checks": health_checks(sight),
        "pod_cidrs": [_pod_cidr(sight, decision) for decision in sight.desired.pod_cidrs],
        "speaker": {"reachable": sight.observed.bgp.reachable, "problem": sight.observed.bgp.problem or None},
        "drain": drain(sight),
        "datapath": datapath,
        "consistency": consistency,
    }


def peers(sight: Sight) -> list[Json]:
    """Every configured peer of this node, in order of name, and those that the speaker still runs."""
    names = sorted(sight.desired.neighbors.keys() | sight.observed.bgp.peers.keys())
    return [_peer(sight, name) for name in names]


def vips(sight: Sight) -> Work[list[Json]]:
    """Every VIP that a Service claims, and those that still have entries in the kernel."""
    present = yield from each(sight.observed.datapath.frontends, lambda key: key.vip)
    known = sorted({*present, *sight.desired.vips}, key=by_number)
    yield
    return (yield from each(known, lambda vip: _vip(sight, vip)))


def vips_alone(sight: Sight) -> Work[Json]:
    """The answer of ``/v1/vips``."""
    return {"schema": "lockstep.vips/v1", "vips": (yield from vips(sight))}


def peers_alone(sight: Sight) -> Work[Json]:
    """The answer of ``/v1/peers``."""
    yield
    return {"schema": "lockstep.peers/v1", "peers": peers(sight)}


def services(sight: Sight) -> list[Json]:
    """Services of type LoadBalancer that have no VIP of their own here, and why."""
    return [
        {"service": str(key), "reason": decision.reason, "detail": decision.detail}
        for key, decision in sorted(sight.desired.services.items())
        if decision.reason is not None and decision.reason is not Reason.NOT_LOAD_BALANCER
    ]


def drain(sight: Sight) -> Json:
    """Whether the node is being taken out of service, on whose word, and how far that is.

    ``requested``: by `lockstep drain` or a planned exit. ``state``: ``none``, ``draining``, or ``drained``: no router
    sends anything here any more. ``vips`` are still on their way out; ``kept`` stay, for too few others would be left.
    """
    asked = sight.desired.drain
    over = drain_is_over(sight.desired, sight.observed, sight.now)
    leaving = [vip for vip, decision in sight.desired.vips.items() if decision.reason is Reason.NODE_DRAINING]
    return {
        "requested": bool(sight.snapshot.drain),
        "state": "none" if asked is None else "drained" if over else "draining",
        "by": list(asked.by) if asked is not None else [],
        "vips": [str(vip) for vip in leaving if see_vip(sight, vip).state is VipState.DRAINING],
        "kept": [str(vip) for vip in asked.kept] if asked is not None else [],
    }


def iso(seconds: float) -> str | None:
    """A Unix time as operators write it (RFC 3339, UTC); None for 0, which means never."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _config(view: ConfigView) -> Json:
    errors = [
        {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "problem": p.problem, "hint": p.hint}
        for p in view.problems
    ]
    return {"state": view.state, "errors": errors}


def _sources(sight: Sight) -> Json:
    return {
        "synced": sight.snapshot.synced,
        "complete": sight.snapshot.complete,
        "stale_seconds": round(sight.stale_seconds, 1),
        "problems": list(sight.source_problems),
    }


def _peer(sight: Sight, name: str) -> Json:
    peer = sight.observed.bgp.peers.get(name)
    neighbor = peer.neighbor if peer is not None else sight.desired.neighbors[name]
    return {
        "name": name,
        "address": str(neighbor.address),
        "port": neighbor.port,
        "asn": neighbor.peer_asn,
        "local_asn": neighbor.local_asn,
        "state": peer.state if peer is not None else PeerState.IDLE,
        "since": iso(peer.since) if peer is not None else None,
        "sessions": peer.session if peer is not None else 0,
        "end_of_rib": peer is not None and 0 < peer.session == peer.end_of_rib,
        "families": list(neighbor.carried),
        "unusable_families": dict(peer.unusable) if peer is not None else {},
        "bfd": peer.bfd if peer is not None else None,
        "routes": _route_counts(sight, name, peer),
        "last_error": peer.last_error if peer is not None else None,
    }


def _route_counts(sight: Sight, name: str, peer: PeerObserved | None) -> Json:
    entries = [entry for entry in peer.rib.values() if not entry.withdrawing] if peer is not None else []
    established = peer is not None and peer.state is PeerState.ESTABLISHED
    return {
        "desired": len(sight.desired.rib.get(name, {})),
        "acknowledged": sum(entry.acknowledged for entry in entries),
        "sent": sum(entry.sent for entry in entries) if established else 0,
    }


def _vip(sight: Sight, vip: IPAddress) -> Json:
    decision = sight.desired.vips.get(vip)
    seen = see_vip(sight, vip)
    counted = decision.backends if decision is not None else None
    return {
        "vip": str(vip),
        "services": [str(key) for key in decision.services] if decision is not None else [],
        "pool": decision.pool if decision is not None else None,
        "state": seen.state,
        "reason": seen.reason,
        "detail": seen.detail or None,
        "backends": {
            "total": counted.total if counted else 0,
            "serving": counted.serving if counted else 0,
            "local": counted.local if counted else 0,
        },
        "proof": proof(sight, vip),
        "damping": damping(sight, vip),
        "peers": list(seen.peers),
    }


def damping(sight: Sight, vip: IPAddress) -> Json | None:
    """How often a VIP was withdrawn lately for want of proof, and how long it is still held back; None if never."""
    found = sight.observed.damping.get(vip)
    if found is None:
        return None
    until = held_until(sight.observed, vip)
    return {"flaps": found.flaps, "held_seconds": round(max(0.0, (until or 0.0) - sight.now), 1)}


def proof(sight: Sight, vip: IPAddress) -> Json | None:
    """The latest proof of a VIP, or None if none was made."""
    found = sight.observed.proofs.get(vip)
    if found is None:
        return None
    return {"ok": found.ok, "age_seconds": round(max(0.0, sight.now - found.at), 3), "problem": found.problem or None}


def _pod_cidr(sight: Sight, decision: PodCidrDecision) -> Json:
    reason, detail = decision.reason, decision.detail
    holding: list[str] = []
    for name, peer in sorted(sight.observed.bgp.peers.items()):
        entry = peer.rib.get(decision.prefix)
        if peer.state is PeerState.ESTABLISHED and entry is not None and entry.held:
            holding.append(name)
    if reason is None and not holding:
        family = Family.of(decision.prefix)
        lacking = [why for _, peer in sorted(sight.observed.bgp.peers.items()) if (why := peer.unusable.get(family))]
        if not sight.desired.synced:
            reason, detail = Reason.SOURCES_NOT_SYNCED, "the source has not delivered its first complete state"
        elif lacking:
            reason, detail = Reason.FAMILY_NOT_CARRIED, lacking[0]
        else:
            reason, detail = Reason.PEER_NOT_ESTABLISHED, "no peer holds it yet"
    state = "Announced" if holding else "Withheld"
    return {
        "prefix": str(decision.prefix),
        "state": state,
        "reason": reason,
        "detail": detail or None,
        "peers": holding,
    }


def _datapath(sight: Sight) -> Work[Json]:
    seen = sight.observed.datapath
    backends: set[tuple[int, int, int]] = set()
    modes = Counter(dict.fromkeys(Mode, 0))
    for frontend in seen.frontends.values():
        # By numbers: addresses are slow to hash, and there may be 100,000.
        backends.update((one.address.version, int(one.address), one.port) for one in frontend.backends)
        modes[frontend.mode] += 1
        yield
    return {
        "forwarded_by": seen.forwarder.name if seen.forwarder is not None else "lockstep",
        "forwarder": _forwarder(sight),
        "devices": [
            {
                "name": device.name,
                "hook": device.hook,
                "attached": device.attached,
                "needed": device.needed,
                "problem": device.problem or None,
            }
            for device in seen.devices.values()
        ],
        "lb_mode": sight.snapshot.lb_mode if seen.forwarder is None else None,
        "frontends": len(seen.frontends),
        "frontends_by_mode": dict(modes),
        "backends": len(backends),
        "maps": {name: {"used": usage.used, "max": usage.max} for name, usage in seen.maps.items()},
        "packets": dict(sight.counters),
        "problem": seen.problem or None,
    }


def _forwarder(sight: Sight) -> Json | None:
    """Who forwards if not our programs, and how it says that it is."""
    found = sight.observed.datapath.forwarder
    if found is None:
        return None
    age = round(max(0.0, sight.now - found.asked), 3) if found.asked else None
    return {"name": found.name, "url": found.url, "healthy": found.healthy, "problem": found.problem or None,
            "asked_seconds_ago": age}  # fmt: skip


def _consistency(sight: Sight) -> Work[Json]:
    checked = yield from each(check(sight.desired, sight.observed), lambda violation: violation)
    found = [violation for violation in checked if violation is not None]
    return {
        "violations": len(found),
        "details": [{"peer": v.peer, "prefix": str(v.nlri), "problem": v.problem} for v in found],
        "last_checked": iso(sight.wall),
    }
