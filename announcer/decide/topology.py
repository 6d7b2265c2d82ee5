"""Which endpoints are near enough (KEP-2433, KEP-2086, KEP-3015), with the way back to all of them where that is safer.

The control plane writes hints into EndpointSlices: for which zones, or which nodes, an endpoint is meant. A consumer
must use them only if every ready endpoint has one and at least one is meant for where it is itself. Anything else means
that the slices are being rewritten, or that this zone has lost its endpoints, and then all of them are used.

``trafficDistribution`` asks for something so simple (an endpoint is meant for its own zone, or its own node) that it is
worked out here where the slices bring no hints, as in a folder of manifests. The older annotation asks for shares by
the CPUs of zones, which only the control plane can work out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from announcer.decide.endpoints import Candidate
from announcer.model.objects import Node, Service

#: Labels and annotations of the Kubernetes API.
ZONE_LABEL = "topology.kubernetes.io/zone"
MODE_ANNOTATION = "service.kubernetes.io/topology-mode"
OLD_ANNOTATION = "service.kubernetes.io/topology-aware-hints"

_Names = Callable[[Candidate], tuple[str, ...]]


class Distribution(StrEnum):
    """``Service.spec.trafficDistribution``. PreferClose is the older name of PreferSameZone."""

    CLOSE = "PreferClose"
    ZONE = "PreferSameZone"
    NODE = "PreferSameNode"


def near(
    serving: tuple[Candidate, ...], service: Service, node: Node | None, node_name: str
) -> tuple[tuple[Candidate, ...], str]:
    """Those of ``serving`` that this node should use, and a remark if that is not what the Service asks for.

    All of ``serving`` if nothing asks for less or if the hints do not cover. Never empty unless ``serving`` is. Where
    only terminating endpoints are left, all of them are used: they are few, and fewer every moment.
    """
    wish = _wish(service)
    ready = tuple(one for one in serving if one.ready)
    if wish == "disabled" or not ready:
        return serving, ""
    distribution = service.traffic_distribution
    by_nodes = _covering(ready, lambda one: one.for_nodes or _own_node(one, distribution), node_name)
    if by_nodes:
        return by_nodes, ""
    zone = node.labels.get(ZONE_LABEL, "") if node is not None else ""
    by_zones = _covering(ready, lambda one: one.for_zones or _own_zone(one, distribution), zone)
    if by_zones:
        return by_zones, ""
    if not wish:
        return ready, ""
    if not zone:
        return ready, f"{wish}: this node has no label {ZONE_LABEL}, so all endpoints are used"
    if not all(one.for_zones or _own_zone(one, distribution) for one in ready):
        return ready, f"{wish}: some endpoints have no hint, so all of them are used"
    return ready, f"{wish}: no ready endpoint is meant for the zone {zone}, so all of them are used"


def _covering(ready: tuple[Candidate, ...], names: _Names, own: str) -> tuple[Candidate, ...]:
    """The endpoints meant for ``own``; none if some endpoint is meant for nobody in particular."""
    if not own or not all(names(one) for one in ready):
        return ()
    return tuple(one for one in ready if own in names(one))


def _own_node(one: Candidate, distribution: str) -> tuple[str, ...]:
    return (one.node,) if distribution == Distribution.NODE and one.node else ()


def _own_zone(one: Candidate, distribution: str) -> tuple[str, ...]:
    return (one.zone,) if distribution in tuple(Distribution) and one.zone else ()


def _wish(service: Service) -> str:
    """How the Service asks for near endpoints, in words; ``disabled`` if it forbids, empty if it says nothing.

    The field wins over the annotations, the newer of which wins over the older.
    """
    if service.traffic_distribution:
        return f"trafficDistribution {service.traffic_distribution}"
    for name in (MODE_ANNOTATION, OLD_ANNOTATION):
        word = service.annotations.get(name, "").lower()
        if word == "auto":
            return f"{name}: auto"
        if word == "disabled":
            return "disabled"
    return ""
