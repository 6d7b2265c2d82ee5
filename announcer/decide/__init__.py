"""``decide``: what should be announced and served on this node, and for everything that should not: why.

The first of the three pure functions. It knows nothing of what is so at present; a decision depends on its inputs
alone, so every node can tell what every other one decides, and a recording can be decided again.

::

    Services, EndpointSlices ──> frontends ──┐
    bgp-config pools ────────> eligibility ──┼──> VIPs ──> routes ──> one Adj-RIB-Out per neighbor
    this Node, bgp-config peers ─> neighbors ┴──> Pod CIDRs ──^
"""

from __future__ import annotations

import msgspec

from announcer.decide.drain import decide_drain, shed_routes
from announcer.decide.health import decide_health_checks
from announcer.decide.neighbors import select_neighbors
from announcer.decide.pod_cidrs import decide_pod_cidrs
from announcer.decide.routes import adj_rib_out
from announcer.decide.services import Claims, decide_services
from announcer.decide.vips import Vips, decide_vips
from announcer.model.desired import Desired, Reason, ServiceDecision
from announcer.model.objects import ObjectKey
from announcer.snapshot import ConfigState, Snapshot

__all__ = ["decide"]


def decide(snapshot: Snapshot) -> Desired:
    """The whole decision for ``snapshot.node_name``.

    Without a configuration that ever was good the result is not ``synced``: nothing may be concluded from it, so
    whatever a previous run left in place stays there.
    """
    config = snapshot.config.config
    if config is None:
        return _undecided(snapshot)
    neighbors, refused = select_neighbors(snapshot, config)
    labels = snapshot.node.labels if snapshot.node is not None else {}
    claims = decide_services(snapshot, config)
    vips = decide_vips(snapshot, config, claims, neighbors)
    pod_cidrs = decide_pod_cidrs(snapshot.node, config.pod_cidrs, neighbors)
    drain, decisions = decide_drain(snapshot, config, claims, vips.decisions)
    rib = adj_rib_out(config, labels, neighbors, decisions, pod_cidrs)
    undrained = adj_rib_out(config, labels, neighbors, vips.decisions, pod_cidrs) if drain is not None else rib
    services = _with_vips(claims, vips)
    checks, taken = decide_health_checks(snapshot, config, services, decisions, drain)
    for key, note in taken.items():
        services[key] = msgspec.structs.replace(services[key], notes=(*services[key].notes, note))
    return Desired(
        revision=snapshot.revision,
        synced=snapshot.synced,
        complete=snapshot.complete,
        neighbors={neighbor.name: neighbor for neighbor in neighbors},
        frontends=vips.frontends,
        rib=rib,
        vips=decisions,
        services=services,
        pod_cidrs=pod_cidrs,
        refused_peers=refused,
        health_checks=checks,
        drain=drain,
        shed=shed_routes(neighbors, undrained, rib) if drain is not None else {},
    )


def _with_vips(claims: Claims, vips: Vips) -> dict[ObjectKey, ServiceDecision]:
    """The decisions about Services, with what was found when their VIPs were decided.

    A Service of which a port belongs to another one has its other ports served all the same.
    """
    decisions = dict(claims.decisions)
    for key, notes in vips.notes.items():
        decisions[key] = msgspec.structs.replace(decisions[key], notes=(*decisions[key].notes, *sorted(notes)))
    for key, detail in vips.conflicts.items():
        decisions[key] = msgspec.structs.replace(decisions[key], reason=Reason.FRONTEND_CONFLICT, detail=detail)
    return decisions


def _undecided(snapshot: Snapshot) -> Desired:
    missing = snapshot.config.state is ConfigState.MISSING
    reason = Reason.CONFIG_MISSING if missing else Reason.CONFIG_INVALID
    return Desired(
        revision=snapshot.revision,
        synced=False,
        services={key: ServiceDecision(key=key, reason=reason) for key in snapshot.services},
    )
