"""The stages of a decision, each of which takes what it gave last time and what has changed since.

A change of one slice in a cluster of 10,000 Services touches one VIP. Whoever makes snapshots shares the values that
did not change, so what did is found by identity. Everything that is about all Services at once (the configuration, the
Nodes, how this node forwards) makes the next decision one from scratch, which is the same stages after nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from announcer.config.types import Config
from announcer.decide.drain import decide_drain, shed_routes
from announcer.decide.health import HealthChecks, decide_health_checks
from announcer.decide.neighbors import select_neighbors
from announcer.decide.pod_cidrs import decide_pod_cidrs
from announcer.decide.reserved import Reserved
from announcer.decide.routes import Ribs, adj_rib_out
from announcer.decide.services import Claims, decide_services, dependents
from announcer.decide.vips import Vips, decide_vips
from announcer.model.bgp import Neighbor
from announcer.model.changes import changed
from announcer.model.desired import Desired, NodeDrain, PeerRefusal, PodCidrDecision, Reason, ServiceDecision
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey
from announcer.snapshot import ConfigState, Snapshot

#: What of a snapshot is looked at one by one, or not before the last stages. All else is about everything.
_ONE_BY_ONE = frozenset({"services", "slices", "allocated", "refused"})
_LATE = frozenset({"revision", "synced", "complete", "drain", "nodes_fresh"})


class _Fixed(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all VIPs."""

    config: Config
    reserved: Reserved
    neighbors: tuple[Neighbor, ...]
    refused_peers: tuple[PeerRefusal, ...]
    pod_cidrs: tuple[PodCidrDecision, ...]


class _Stages(msgspec.Struct, frozen=True, kw_only=True):
    """A decision in its parts, as if this node were not to leave."""

    snapshot: Snapshot
    fixed: _Fixed
    claims: Claims = Claims()
    vips: Vips = Vips()
    services: dict[ObjectKey, ServiceDecision] = {}
    checks: HealthChecks = HealthChecks()
    ribs: Ribs = Ribs()


class Decider:
    """Decides for one snapshot after the other. Gives what :func:`decide` gives, whatever it was asked before."""

    def __init__(self) -> None:
        """Nothing decided yet."""
        self._before: _Stages | None = None

    def decide(self, snapshot: Snapshot) -> Desired:
        """The whole decision for ``snapshot.node_name``."""
        config = snapshot.config.config
        if config is None:
            self._before = None
            return _undecided(snapshot)
        self._before = _advance(self._before, snapshot, config)
        return _desired(self._before)


def decide(snapshot: Snapshot) -> Desired:
    """The whole decision for ``snapshot.node_name``.

    Without a configuration that ever was good the result is not ``synced``: nothing may be concluded from it, so
    whatever a previous run left in place stays there.
    """
    return Decider().decide(snapshot)


def _advance(before: _Stages | None, snapshot: Snapshot, config: Config) -> _Stages:
    if before is None or not _differs_in_parts_only(before.snapshot, snapshot):
        before = _Stages(snapshot=Snapshot(revision=0, node_name=""), fixed=_fix(snapshot, config))
    fixed, last = before.fixed, before.snapshot
    one_by_one = (
        changed(getattr(last, name), getattr(snapshot, name)) for name in ("services", "allocated", "refused")
    )
    wishes = dependents(snapshot, set().union(*one_by_one))
    claims, touched = decide_services(snapshot, config, fixed.reserved, before.claims, wishes)
    for key in changed(last.slices, snapshot.slices):
        decision = claims.decisions.get(key)
        if decision is not None and decision.reason is None:
            touched.update(decision.vips)
    vips = decide_vips(snapshot, config, fixed.reserved, claims, fixed.neighbors, before.vips, touched)
    concerned = {*wishes, *(service.key for vip in touched for service in claims.by_vip.get(vip, ()))}
    services = _with_vips(before.services, claims, vips, concerned)
    labels = snapshot.node.labels if snapshot.node is not None else {}
    return _Stages(
        snapshot=snapshot,
        fixed=fixed,
        claims=claims,
        vips=vips,
        services=services,
        checks=decide_health_checks(snapshot, config, services, vips.decisions, None, before.checks, concerned),
        ribs=adj_rib_out(config, labels, fixed.neighbors, vips.decisions, fixed.pod_cidrs, before.ribs, touched),
    )


def _fix(snapshot: Snapshot, config: Config) -> _Fixed:
    neighbors, refused = select_neighbors(snapshot, config)
    return _Fixed(
        config=config,
        reserved=Reserved(snapshot.nodes.values(), config),
        neighbors=neighbors,
        refused_peers=refused,
        pod_cidrs=decide_pod_cidrs(snapshot.node, config.pod_cidrs, neighbors),
    )


def _differs_in_parts_only(before: Snapshot, after: Snapshot) -> bool:
    """True if all that is about everything is the same."""
    names = set(Snapshot.__struct_fields__) - _ONE_BY_ONE - _LATE
    pairs = [(getattr(before, name), getattr(after, name)) for name in names]
    return all(one is other or one == other for one, other in pairs)


def _with_vips(
    before: dict[ObjectKey, ServiceDecision], claims: Claims, vips: Vips, concerned: Iterable[ObjectKey]
) -> dict[ObjectKey, ServiceDecision]:
    """The decisions about Services, with what was found when their VIPs were decided.

    A Service of which a port belongs to another one has its other ports served all the same.
    """
    services = dict(before)
    for key in concerned:
        services.pop(key, None)
        decision = claims.decisions.get(key)
        if decision is None:
            continue
        results = [vips.results[vip] for vip in decision.vips if vip in vips.results]
        notes = {note for result in results for note in result.notes.get(key, ())}
        conflicts = [result.conflicts[key] for result in results if key in result.conflicts]
        if notes:
            decision = msgspec.structs.replace(decision, notes=(*decision.notes, *sorted(notes)))
        if conflicts:
            decision = msgspec.structs.replace(decision, reason=Reason.FRONTEND_CONFLICT, detail=conflicts[-1])
        services[key] = decision
    return services


def _desired(stages: _Stages) -> Desired:
    """The decision as it is given away: with this node's drain, if there is one."""
    snapshot, fixed = stages.snapshot, stages.fixed
    drain, decisions = decide_drain(snapshot, fixed.config, stages.claims, stages.vips.decisions)
    ribs, checks = stages.ribs, stages.checks
    if drain is not None:
        ribs, checks = _drained(stages, drain, decisions)
    services = stages.services
    if checks.notes:
        services = dict(services)
        for key, note in checks.notes.items():
            services[key] = msgspec.structs.replace(services[key], notes=(*services[key].notes, note))
    shed = shed_routes(fixed.neighbors, stages.ribs.by_neighbor, ribs.by_neighbor) if drain is not None else {}
    return Desired(
        revision=snapshot.revision,
        synced=snapshot.synced,
        complete=snapshot.complete,
        neighbors={neighbor.name: neighbor for neighbor in fixed.neighbors},
        frontends=stages.vips.frontends,
        rib=ribs.by_neighbor,
        vips=decisions,
        services=services,
        pod_cidrs=fixed.pod_cidrs,
        refused_peers=fixed.refused_peers,
        health_checks=checks.settled,
        drain=drain,
        shed=shed,
        by_nodes=frozenset(stages.vips.by_nodes),
    )


def _drained(stages: _Stages, drain: NodeDrain, decisions: dict[IPAddress, Any]) -> tuple[Ribs, HealthChecks]:
    """Routes and health checks of a node that leaves. A node does that seldom, so they are made anew each time."""
    snapshot, fixed = stages.snapshot, stages.fixed
    labels = snapshot.node.labels if snapshot.node is not None else {}
    ribs = adj_rib_out(fixed.config, labels, fixed.neighbors, decisions, fixed.pod_cidrs, Ribs(), decisions)
    checks = decide_health_checks(
        snapshot, fixed.config, stages.services, decisions, drain, HealthChecks(), snapshot.services
    )
    return ribs, checks


def _undecided(snapshot: Snapshot) -> Desired:
    missing = snapshot.config.state is ConfigState.MISSING
    reason = Reason.CONFIG_MISSING if missing else Reason.CONFIG_INVALID
    return Desired(
        revision=snapshot.revision,
        synced=False,
        services={key: ServiceDecision(key=key, reason=reason) for key in snapshot.services},
    )
