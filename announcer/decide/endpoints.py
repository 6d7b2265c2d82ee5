"""From the EndpointSlices of a Service to the endpoints of one of its ports, and to those that take new connections.

All slices of a Service are looked at together: a Service may have any number of them, and an endpoint may stand in two
while the control plane moves it (KEP-752).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from announcer.config.types import NotReadyConnections, Readiness
from announcer.model.lb import Backend
from announcer.model.objects import Endpoint, EndpointSlice, ServicePort


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One endpoint of a port, merged from all slices that name it.

    ``draining``: it terminates and still answers, so it may be used when nothing better is left (KEP-1669).
    ``ending``: it terminates, whether or not it answers.
    ``for_zones`` and ``for_nodes`` are its hints, ``zone`` and ``node`` where it runs.
    """

    backend: Backend
    ready: bool
    draining: bool
    ending: bool = False
    zone: str = ""
    node: str = ""
    for_zones: tuple[str, ...] = ()
    for_nodes: tuple[str, ...] = ()


class PortBackends(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints of one Service port, for addresses of one family.

    ``serving``: those that may take new connections, by backend; nobody may if it is empty. ``draining``: those that
    terminate and still answer, whether or not they may take new ones. ``keeping``: those that may not be done with the
    connections that they have. ``known``: all there are in any state, sorted.
    """

    serving: tuple[Candidate, ...] = ()
    draining: tuple[Candidate, ...] = ()
    keeping: tuple[Candidate, ...] = ()
    known: tuple[Backend, ...] = ()

    @property
    def local(self) -> tuple[Candidate, ...]:
        """Those of ``serving`` that run on this node."""
        return tuple(one for one in self.serving if one.backend.local)


def endpoints_of(
    slices: Iterable[EndpointSlice],
    port: ServicePort,
    *,
    version: int,
    node_name: str,
    readiness: Readiness,
    publish_not_ready: bool = False,
    not_ready: NotReadyConnections = NotReadyConnections.RESET,
) -> PortBackends:
    """The endpoints behind ``port``: those whose slice has a port of the same name and protocol.

    The number of the target port comes from the slice. A named target port that means another number in some pods
    puts them into a slice of their own, so nothing has to be looked up here.

    Ready endpoints take new connections. Where no node has one left, ``readiness`` decides whether terminating
    endpoints that still answer do (KEP-1669: a rolling update of a single replica then loses nothing).

    Endpoints that terminate keep their connections, and others that are not ready if ``not_ready`` says so.
    """
    # By numbers: addresses are slow to hash and to compare, and there may be 100,000 of them.
    found: dict[tuple[int, int], list[Endpoint]] = {}
    for endpoint, number in _matching(slices, port):
        address = endpoint.addresses[0]
        if address.version == version:
            found.setdefault((int(address), number), []).append(endpoint)
    merged = [_merge(found[key], key[1], node_name, publish_not_ready) for key in sorted(found)]
    ready = tuple(one for one in merged if one.ready)
    draining = tuple(one for one in merged if one.draining)
    keep = not_ready is NotReadyConnections.KEEP
    fallback = draining if readiness is Readiness.READY_THEN_SERVING else ()
    return PortBackends(
        serving=ready or fallback,
        draining=draining,
        keeping=tuple(one for one in merged if one.ending or (not one.ready and keep)),
        known=tuple(one.backend for one in merged),
    )


def _matching(slices: Iterable[EndpointSlice], port: ServicePort) -> Iterator[tuple[Endpoint, int]]:
    for piece in slices:
        for target in piece.ports:
            if target.name == port.name and target.protocol == port.protocol:
                for endpoint in piece.endpoints:
                    if endpoint.addresses:
                        yield endpoint, target.port


def _merge(same: list[Endpoint], port: int, node_name: str, publish_not_ready: bool) -> Candidate:
    """What the slices say together of one endpoint.

    A Pod that terminates never stops doing so, hence a slice that knows of it is newer than one that does not, and
    the latter has no say. Otherwise the endpoint is ready if any slice says so: readiness comes and goes, nothing
    tells which slice is older, and a backend too many fails some connections where a backend too few may fail all.

    The control plane reports a terminating endpoint as not ready, unless the Service publishes not-ready addresses,
    and then it means it (``EndpointConditions`` in k8s.io/api/discovery/v1).
    """
    if len(same) == 1:
        return _alone(same[0], port, node_name, publish_not_ready)
    ending = [one for one in same if one.terminating]
    telling = ending or same
    return Candidate(
        backend=Backend(same[0].addresses[0], port, any(one.node_name == node_name for one in same)),
        ready=publish_not_ready or any(one.ready for one in telling),
        draining=any(one.serving for one in ending),
        ending=bool(ending),
        zone=next((one.zone for one in telling if one.zone), ""),
        node=next((one.node_name for one in telling if one.node_name), ""),
        for_zones=_sorted(chain.from_iterable(one.for_zones for one in telling)),
        for_nodes=_sorted(chain.from_iterable(one.for_nodes for one in telling)),
    )


def _alone(one: Endpoint, port: int, node_name: str, publish_not_ready: bool) -> Candidate:
    """The same of an endpoint that stands in one slice, as nearly all do, in half of the time."""
    return Candidate(
        backend=Backend(one.addresses[0], port, one.node_name == node_name),
        ready=publish_not_ready or one.ready,
        draining=one.terminating and one.serving,
        ending=one.terminating,
        zone=one.zone,
        node=one.node_name,
        for_zones=_sorted(one.for_zones) if one.for_zones else (),
        for_nodes=_sorted(one.for_nodes) if one.for_nodes else (),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
