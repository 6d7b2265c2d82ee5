"""From the Services behind a VIP to its frontends, and to what each says about announcing the VIP from this node."""

from __future__ import annotations

from operator import is_

import msgspec

from announcer.config.types import Pool, Readiness, ZeroEndpoints
from announcer.decide.endpoints import Candidate, PortBackends, endpoints_of
from announcer.decide.memo import Memo
from announcer.decide.modes import lb_mode_of
from announcer.decide.rules import Rules, rules_of
from announcer.decide.sources import source_ranges
from announcer.decide.topology import near
from announcer.decide.underlay import Underlay, missed_remark, through_nodes, underlay_of
from announcer.model.lb import Backend, Frontend, FrontendKey, Mode
from announcer.model.net import IPAddress, Protocol
from announcer.model.objects import (
    EndpointSlice,
    Node,
    ObjectKey,
    Service,
    ServicePort,
    SessionAffinity,
    TrafficPolicy,
)
from announcer.snapshot import Snapshot

#: One for all: an empty set takes as much memory as a small one.
NO_NODES = frozenset[str]()


class Port(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One frontend with what stands behind it: endpoints that are ``known``, ``serving``, ``draining``.

    Those are as in :class:`~announcer.decide.endpoints.PortBackends`, reduced to backends, since a Port is kept. Most
    often they are the very tuple that the frontend has.

    ``attracts``: new connections may be drawn to this node. Under the policy Local that is less than what the frontend
    serves: the last endpoints here that still answer while they terminate take what arrives, but as long as another
    node has ready ones, connections should go there. ``keeps``: without endpoints on any node the route stays.
    ``remarks`` on how the endpoints were chosen, for people. ``by_nodes``: the nodes by way of which endpoints on other
    nodes are reached; ``missed``: some are not, because no address of their node is known.
    """

    frontend: Frontend
    known: tuple[Backend, ...]
    serving: tuple[Backend, ...]
    draining: tuple[Backend, ...]
    attracts: bool
    keeps: bool
    remarks: tuple[str, ...] = ()
    by_nodes: frozenset[str] = NO_NODES
    missed: bool = False


#: The ports of a large cluster, as this node sees them.
_ports: Memo[Port] = Memo(65_536)


def ports_of(
    snapshot: Snapshot,
    vip: IPAddress,
    services: tuple[Service, ...],
    pool: Pool,
    conflicts: dict[ObjectKey, str],
    notes: dict[ObjectKey, set[str]],
) -> dict[FrontendKey, Port]:
    """The frontends of a VIP. A port that two Services claim goes to the older one; ``conflicts`` is told of it."""
    ports: dict[FrontendKey, Port] = {}
    owner: dict[FrontendKey, Service] = {}
    for service in services:
        rules = rules_of(service, pool)
        lb_mode, remark = lb_mode_of(service, snapshot.lb_mode)
        remarks = {*rules.notes, *filter(None, (remark,))}
        for port in service.ports:
            key = FrontendKey(vip, port.protocol, port.port)
            if key in owner:
                if owner[key] is not service:
                    conflicts[service.key] = f"{key} is served for {owner[key].key}, which is older"
                continue
            owner[key] = service
            slices = snapshot.slices.get(service.key, ())
            mode = lb_mode.of(port.protocol)
            underlay = underlay_of(snapshot.nodes) if mode is Mode.GENEVE else None
            ports[key] = _port(slices, service, port, key, mode, pool, snapshot.node, snapshot.node_name, underlay)
            remarks.update(ports[key].remarks)
        if remarks:
            notes.setdefault(service.key, set()).update(remarks)
    return ports


def _port(
    slices: tuple[EndpointSlice, ...],
    service: Service,
    port: ServicePort,
    key: FrontendKey,
    mode: Mode,
    pool: Pool,
    node: Node | None,
    node_name: str,
    underlay: Underlay | None,
) -> Port:
    """One frontend. Computed once for the same values."""
    return _ports.get(
        (slices, service, port, pool, node, underlay),
        (key, mode, node_name),
        lambda: _new_port(slices, service, port, key, mode, pool, node, node_name, underlay),
    )


def _new_port(
    slices: tuple[EndpointSlice, ...],
    service: Service,
    port: ServicePort,
    key: FrontendKey,
    mode: Mode,
    pool: Pool,
    node: Node | None,
    node_name: str,
    underlay: Underlay | None,
) -> Port:
    """``underlay``: packets go to the nodes of remote backends; None: to the backends themselves."""
    rules = rules_of(service, pool)
    found = _found_in(slices, service, port, rules, version=key.vip.version, node_name=node_name)
    serving, draining = found.serving, found.draining
    # A datagram to one that answers no more cannot be told from the first of a flow, and would go to nobody.
    keeping = found.keeping if port.protocol is Protocol.TCP else draining
    missed: tuple[Candidate, ...] = ()
    nodes = NO_NODES
    remark = ""
    local_only = service.external_traffic_policy is TrafficPolicy.LOCAL
    if underlay is not None and not local_only:
        nodes = frozenset(one.node for one in serving if one.node and not one.backend.local)
        serving, missed = through_nodes(serving, underlay, key.vip.version)
        draining, _ = through_nodes(draining, underlay, key.vip.version)
        keeping, _ = through_nodes(keeping, underlay, key.vip.version)
    if local_only:
        attracts = bool(found.local)
        last = draining if rules.readiness is Readiness.READY_THEN_SERVING else ()
        chosen = found.local or tuple(one for one in last if one.backend.local)
    else:
        attracts = bool(serving)
        chosen, remark = near(serving, service, node, node_name)
    backends = _backends(chosen, found.known)
    keeps = rules.zero_endpoints is ZeroEndpoints.KEEP
    leaving = tuple(one.backend for one in keeping if one.backend.local or not local_only)
    terminating = _without(leaving, backends) if leaving else ()
    frontend = Frontend(
        key=key,
        backends=backends,
        terminating=terminating,
        for_others=() if local_only else _others(found.known, (*backends, *terminating)),
        affinity=service.session_affinity is SessionAffinity.CLIENT_IP,
        source_ranges=source_ranges(service, key.vip.version),
        reject=keeps and not found.serving,
        mode=mode,
    )
    missed_too = missed_remark(missed, key.vip.version) if missed else ""
    return Port(
        frontend=frontend,
        known=found.known,
        serving=_backends(found.serving, backends, found.known),
        draining=_backends(found.draining, terminating, found.known),
        attracts=attracts,
        keeps=keeps,
        remarks=tuple(filter(None, (remark, missed_too))),
        by_nodes=nodes,
        missed=bool(missed),
    )


def _backends(candidates: tuple[Candidate, ...], *known: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """The backends of these, as one of the tuples that are ``known`` if it is the same."""
    found = tuple(one.backend for one in candidates)
    return next((same for same in known if len(same) == len(found) and all(map(is_, same, found))), found)


def _without(leaving: tuple[Backend, ...], backends: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """Those of ``leaving``, sorted, one of each address and none of an address that a backend has.

    A Service that changes its target port has every Pod twice for a while.
    """
    taken = {backend.address for backend in backends}
    by_address = {backend.address: backend for backend in reversed(leaving) if backend.address not in taken}
    return tuple(sorted(by_address.values()))


def _others(known: tuple[Backend, ...], members: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """Endpoints here that are no members. Other nodes name them by address: the first of each, and none of a member."""
    here = tuple(backend for backend in known if backend.local)
    if not here:
        return ()
    taken = {backend.address for backend in members}
    by_address = {backend.address: backend for backend in reversed(here) if backend.address not in taken}
    return tuple(sorted(by_address.values()))


def found_behind(
    snapshot: Snapshot, service: Service, port: ServicePort, rules: Rules, *, version: int, node_name: str
) -> PortBackends:
    """The endpoints of one port by the rules of its Service, as the node ``node_name`` sees them."""
    slices = snapshot.slices.get(service.key, ())
    return _found_in(slices, service, port, rules, version=version, node_name=node_name)


def _found_in(
    slices: tuple[EndpointSlice, ...],
    service: Service,
    port: ServicePort,
    rules: Rules,
    *,
    version: int,
    node_name: str,
) -> PortBackends:
    return endpoints_of(
        slices,
        port,
        version=version,
        node_name=node_name,
        readiness=rules.readiness,
        publish_not_ready=service.publish_not_ready,
        not_ready=rules.not_ready_connections,
    )
