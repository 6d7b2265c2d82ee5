"""From the EndpointSlices of a Service to the backends of one of its ports.

All slices of a Service are looked at together: a Service may have any number of them, and an endpoint may stand in two
while the control plane moves it (KEP-752).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from announcer.model.lb import Backend
from announcer.model.net import IPAddress
from announcer.model.objects import Endpoint, EndpointSlice, ServicePort


class PortBackends(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints of one Service port, for addresses of one family.

    ``serving``: backends that may take new connections, sorted; ``known``: all endpoints, whatever their state.
    """

    serving: tuple[Backend, ...] = ()
    known: frozenset[tuple[IPAddress, int]] = frozenset()

    @property
    def local(self) -> tuple[Backend, ...]:
        """Those of ``serving`` that run on this node."""
        return tuple(backend for backend in self.serving if backend.local)


def backends_of(slices: Iterable[EndpointSlice], port: ServicePort, *, version: int, node_name: str) -> PortBackends:
    """The backends behind ``port``: endpoints whose slice has a port of the same name and protocol.

    An endpoint serves if it is ready. (The control plane reports a terminating endpoint as not ready, unless the
    Service publishes not-ready addresses, and then it means it.) Of one endpoint in two slices, ready in one of them
    is enough.
    """
    serving: set[Backend] = set()
    known: set[tuple[IPAddress, int]] = set()
    for endpoint, number in _matching(slices, port):
        address = endpoint.addresses[0]
        if address.version != version:
            continue
        known.add((address, number))
        if endpoint.ready:
            serving.add(Backend(address, number, endpoint.node_name == node_name))
    return PortBackends(serving=tuple(sorted(serving)), known=frozenset(known))


def _matching(slices: Iterable[EndpointSlice], port: ServicePort) -> Iterator[tuple[Endpoint, int]]:
    for piece in slices:
        for target in piece.ports:
            if target.name == port.name and target.protocol == port.protocol:
                for endpoint in piece.endpoints:
                    if endpoint.addresses:
                        yield endpoint, target.port
