"""discovery.k8s.io/v1 EndpointSlice."""

from __future__ import annotations

from sys import intern

from announcer.manifests.fields import Field
from announcer.manifests.plain import plain_endpoint
from announcer.manifests.service import one_of
from announcer.model.net import Protocol
from announcer.model.objects import Endpoint, EndpointSlice, ObjectKey, SlicePort

#: Ties a slice to its Service (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ownership).
SERVICE_LABEL = "kubernetes.io/service-name"

_VERSIONS = {"IPv4": 4, "IPv6": 6}


def endpoint_slice(field: Field, key: ObjectKey) -> EndpointSlice:
    """The EndpointSlice in ``field``."""
    owner = field.get("metadata", "labels", SERVICE_LABEL)
    if not owner.text():
        owner.wrong("is missing: the slice belongs to no Service", "write the name of the Service, as text")
    kind = field.get("addressType")
    name = kind.text()
    if name not in ("IPv4", "IPv6", "FQDN"):
        kind.wrong("must be IPv4, IPv6 or FQDN" if name else "is missing", "write IPv4 or IPv6")
    # Names (FQDN) cannot be served by packets; such a slice has no endpoints for us.
    version = _VERSIONS.get(name)
    endpoints = [_endpoint(item, version) for item in field.get("endpoints").items()] if version else []
    ports = [_port(item) for item in field.get("ports").items()]
    return EndpointSlice(
        key=key,
        service=ObjectKey(key.namespace, owner.text()),
        ports=tuple(port for port in ports if port is not None),
        endpoints=tuple(endpoint for endpoint in endpoints if endpoint is not None),
    )


def _port(field: Field) -> SlicePort | None:
    """A port; None if it has no number, which the API allows and which names nothing that can be served."""
    number = field.get("port")
    if number.value is None:
        return None
    return SlicePort(
        name=intern(field.get("name").text()),
        protocol=one_of(field.get("protocol"), Protocol.TCP),
        port=number.port(),
    )


def _endpoint(field: Field, version: int) -> Endpoint | None:
    """An endpoint. Absent conditions: ready is true, serving is what ready is, terminating is false (KEP-1672)."""
    plain = plain_endpoint(field.value) if version == 4 else None
    if plain is not None:
        return plain
    addresses = []
    for item in field.get("addresses").items():
        address = item.address()
        if address is not None and address.version != version:
            item.wrong(f"{address} is not of the slice's addressType", "use one slice for each family")
        if address is not None:
            addresses.append(address)
    conditions = field.get("conditions")
    ready = conditions.get("ready").truth(True)
    if not addresses:
        field.get("addresses").wrong("has no address", "write at least one")
        return None
    return Endpoint(
        addresses=tuple(addresses),
        ready=ready,
        serving=conditions.get("serving").truth(ready),
        terminating=conditions.get("terminating").truth(False),
        node_name=intern(field.get("nodeName").text()),
        zone=intern(field.get("zone").text()),
        for_zones=_names(field.get("hints", "forZones")),
        for_nodes=_names(field.get("hints", "forNodes")),
    )


def _names(field: Field) -> tuple[str, ...]:
    """The names of a list of hints (KEP-2433, KEP-3015), sorted."""
    found = {intern(item.get("name").text()) for item in field.items()}
    return tuple(sorted(found - {""}))
