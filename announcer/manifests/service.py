"""core/v1 Service."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from sys import intern
from typing import TypeVar

from announcer.manifests.fields import Field
from announcer.model.names import ALLOCATED_CONDITION
from announcer.model.net import IPAddress, IPNetwork, Protocol
from announcer.model.objects import (
    DEFAULT_AFFINITY_SECONDS,
    Condition,
    ObjectKey,
    Service,
    ServicePort,
    SessionAffinity,
    TrafficPolicy,
)
from announcer.yamltree import shown

E = TypeVar("E", bound=StrEnum)

#: What ``loadBalancerSourceRanges`` was before it was a field. The API still reads it where the field is empty.
SOURCE_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
#: The longest session affinity that the API takes: a day.
_MAX_AFFINITY_SECONDS = 86400


class Family(StrEnum):
    """One of ``Service.spec.ipFamilies``."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


_FAMILIES = {Family.IPV4: 4, Family.IPV6: 6}


def service(field: Field, key: ObjectKey) -> Service:
    """The Service in ``field``, with the defaults that the API server would have filled in."""
    spec = field.get("spec")
    metadata = field.get("metadata")
    requested = spec.get("loadBalancerIP").address()
    status = field.get("status")
    # An entry of status.loadBalancer.ingress that has a hostname only (a cloud's load balancer) is not ours.
    entries = list(status.get("loadBalancer", "ingress").items())
    ingress = [item.get("ip").address() for item in entries]
    external = [item.address() for item in spec.get("externalIPs").items()]
    timeout = spec.get("sessionAffinityConfig", "clientIP", "timeoutSeconds")
    return Service(
        key=key,
        labels=metadata.get("labels").texts(),
        annotations=metadata.get("annotations").texts(),
        type=intern(spec.get("type").text() or "ClusterIP"),
        selector=spec.get("selector").texts(),
        cluster_ips=_cluster_ips(spec),
        ip_families=tuple(_FAMILIES[one_of(item, Family.IPV4)] for item in spec.get("ipFamilies").items()),
        ip_family_policy=spec.get("ipFamilyPolicy").text(),
        ports=tuple(_port(item) for item in spec.get("ports").items()),
        external_traffic_policy=one_of(spec.get("externalTrafficPolicy"), TrafficPolicy.CLUSTER),
        load_balancer_class=spec.get("loadBalancerClass").text(),
        requested=(requested,) if requested is not None else (),
        ingress=tuple(dict.fromkeys(address for address in ingress if address is not None)),
        has_hostname=any(isinstance(item.value, dict) and item.get("hostname").text() for item in entries),
        allocation=_allocation(status) if isinstance(status.value, dict) else None,
        uid=metadata.get("uid").text(),
        creation_timestamp=metadata.get("creationTimestamp").text(),
        external_ips=tuple(dict.fromkeys(address for address in external if address is not None)),
        publish_not_ready=spec.get("publishNotReadyAddresses").truth(False),
        session_affinity=one_of(spec.get("sessionAffinity"), SessionAffinity.NONE),
        affinity_seconds=timeout.whole(1, _MAX_AFFINITY_SECONDS, DEFAULT_AFFINITY_SECONDS),
        source_ranges=_source_ranges(field),
        health_check_node_port=spec.get("healthCheckNodePort").port(0),
        allocate_node_ports=spec.get("allocateLoadBalancerNodePorts").truth(True),
        traffic_distribution=spec.get("trafficDistribution").text(),
    )


def one_of(field: Field, default: E) -> E:
    """A member of the enumeration that ``default`` belongs to; ``default`` if the field is absent or wrong."""
    word = field.text()
    kind = type(default)
    try:
        return kind(word) if word else default
    except ValueError:
        field.wrong(f'"{shown(word)}" is not one of {", ".join(kind)}')
        return default


def _allocation(status: Field) -> Condition | None:
    for item in status.get("conditions").items():
        if item.get("type").text() == ALLOCATED_CONDITION:
            return Condition(
                status=item.get("status").text(),
                reason=item.get("reason").text(),
                message=item.get("message").text(),
                since=item.get("lastTransitionTime").text(),
            )
    return None


def _port(field: Field) -> ServicePort:
    return ServicePort(
        name=intern(field.get("name").text()),
        protocol=one_of(field.get("protocol"), Protocol.TCP),
        port=field.get("port").port(),
        node_port=field.get("nodePort").port(0),
    )


def _cluster_ips(spec: Field) -> tuple[IPAddress, ...]:
    """``clusterIP`` and ``clusterIPs``; the word None marks a headless Service."""
    fields = [spec.get("clusterIP"), *spec.get("clusterIPs").items()]
    found = [field.address() for field in fields if field.value != "None"]
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _source_ranges(field: Field) -> tuple[IPNetwork, ...]:
    """``loadBalancerSourceRanges``. The API takes blanks around a range and host bits in it, so both are taken here.

    One that cannot be read makes the whole object wrong: to leave it out could shut clients out, or let all of them in.
    """
    listed = [(item, item.text()) for item in field.get("spec", "loadBalancerSourceRanges").items()]
    if not listed:
        annotation = field.get("metadata", "annotations", SOURCE_RANGES_ANNOTATION)
        listed = [(annotation, word) for word in annotation.text().split(",")]
    found: list[IPNetwork] = []
    for item, word in listed:
        if word.strip():
            try:
                found.append(ipaddress.ip_network(word.strip(), strict=False))
            except ValueError:
                item.wrong(f'"{shown(word)}" is not a prefix', "a range looks like 192.0.2.0/24")
    return tuple(sorted(set(found), key=lambda prefix: (prefix.version, prefix)))
