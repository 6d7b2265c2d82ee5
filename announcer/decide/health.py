"""Which ``healthCheckNodePort`` this node answers on, and what it has to say there.

A load balancer in front of the nodes asks each of them over HTTP whether it has endpoints of a Service of its own
(externalTrafficPolicy Local). The answer has to agree with the routes: a node that is on its way out, or that must not
attract traffic, must not attract it by this road either.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from announcer.config.types import Config
from announcer.decide.ports import found_behind
from announcer.decide.rules import rules_of
from announcer.decide.services import by_age
from announcer.model.desired import HealthCheck, NodeDrain, Reason, ServiceDecision, VipDecision
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey, Service, TrafficPolicy
from announcer.snapshot import Snapshot

#: Reasons that are about this node and not about the Service or its routes.
_NODE_REASONS = frozenset({Reason.NODE_EXCLUDED, Reason.NODE_DRAINING, Reason.NODE_NETWORK_UNAVAILABLE})


class HealthChecks(msgspec.Struct, frozen=True, kw_only=True):
    """``by_service``: of every Service that has one. ``settled``: in order of their ports, each port once.

    ``notes``: remarks about Services whose port belongs to an older one.
    """

    by_service: dict[ObjectKey, HealthCheck] = {}
    settled: tuple[HealthCheck, ...] = ()
    notes: dict[ObjectKey, str] = {}


def decide_health_checks(
    snapshot: Snapshot,
    config: Config,
    decisions: dict[ObjectKey, ServiceDecision],
    vips: dict[IPAddress, VipDecision],
    drain: NodeDrain | None,
    before: HealthChecks,
    touched: Iterable[ObjectKey],
) -> HealthChecks:
    """``before``, with the Services decided anew that are ``touched``."""
    found = dict(before.by_service)
    changed = False
    for key in touched:
        changed |= found.pop(key, None) is not None
        service = snapshot.services.get(key)
        served = [vip for vip in decisions[key].vips if vip in vips] if service is not None else []
        if service is not None and _has_health_check(service) and served:
            changed = True
            found[key] = HealthCheck(
                service=key,
                port=service.health_check_node_port,
                vips=tuple(served),
                local_endpoints=_local_endpoints(snapshot, config, service, served),
                refused=_refused(served, vips, drain),
            )
    return _settle(snapshot, found) if changed else before


def _settle(snapshot: Snapshot, checks: dict[ObjectKey, HealthCheck]) -> HealthChecks:
    """Give each port to the oldest Service that has it."""
    found: dict[int, HealthCheck] = {}
    notes: dict[ObjectKey, str] = {}
    for key in sorted(checks, key=lambda key: by_age(snapshot.services[key])):
        port = checks[key].port
        if port in found:
            notes[key] = f"healthCheckNodePort {port} is answered for {found[port].service}, which is older"
        else:
            found[port] = checks[key]
    return HealthChecks(by_service=checks, settled=tuple(found[port] for port in sorted(found)), notes=notes)


def _has_health_check(service: Service) -> bool:
    local = service.type == "LoadBalancer" and service.external_traffic_policy is TrafficPolicy.LOCAL
    return local and service.health_check_node_port != 0


def _local_endpoints(snapshot: Snapshot, config: Config, service: Service, vips: list[IPAddress]) -> int:
    """Endpoints on this node that make it a place for new connections: by address, over all ports and families."""
    addresses: set[IPAddress] = set()
    for vip in vips:
        pool = config.pool_of(vip)
        if pool is None:
            continue
        rules = rules_of(service, pool)
        for port in service.ports:
            behind = found_behind(snapshot, service, port, rules, version=vip.version, node_name=snapshot.node_name)
            addresses.update(one.backend.address for one in behind.local)
    return len(addresses)


def _refused(served: list[IPAddress], vips: dict[IPAddress, VipDecision], drain: NodeDrain | None) -> Reason | None:
    """Why the node wants no traffic whatever runs on it."""
    for vip in served:
        reason = vips[vip].reason
        if reason in _NODE_REASONS:
            return reason
        # A VIP that is not announced for want of a peer is being drained all the same.
        if drain is not None and vip not in drain.kept:
            return Reason.NODE_DRAINING
    return None
