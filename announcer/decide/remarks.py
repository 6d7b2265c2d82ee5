"""What a Service asks for and does not get though it is served: said in words, never passed over.

``docs/services.md`` holds the whole table of fields and annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from announcer.decide.sources import source_ranges
from announcer.decide.topology import MODE_ANNOTATION, OLD_ANNOTATION, Distribution
from announcer.model.net import IPAddress
from announcer.model.objects import Service

_MODES = ("", "auto", "disabled")
#: Removed from the API in Kubernetes 1.24; people still write it.
_TOLERATE_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"


def remarks(service: Service, vips: Iterable[IPAddress]) -> tuple[str, ...]:
    """One sentence for each wish of a Service with these VIPs that has no effect here, or one that nobody means."""
    return (*_remarks(service), *_shut_out(service, vips))


def _shut_out(service: Service, vips: Iterable[IPAddress]) -> Iterator[str]:
    for version in sorted({vip.version for vip in vips}):
        if source_ranges(service, version) == ():
            yield f"loadBalancerSourceRanges has no IPv{version} range, so no IPv{version} client is let in"


def _remarks(service: Service) -> list[str]:
    found: list[str] = []
    if any(port.node_port for port in service.ports):
        found.append("node ports are not served here; that is left to the cluster's own proxy")
    distribution = service.traffic_distribution
    if distribution and distribution not in tuple(Distribution):
        found.append(f'trafficDistribution "{distribution[:40]}" is not known, so all endpoints are used')
    for name in (MODE_ANNOTATION, OLD_ANNOTATION):
        word = service.annotations.get(name, "")
        if word.lower() not in _MODES:
            found.append(f'annotation {name}: "{word[:40]}" is neither auto nor disabled; it has no effect')
    if service.annotations.get(_TOLERATE_UNREADY, "").lower() == "true":
        found.append(f"annotation {_TOLERATE_UNREADY} is not read any more; set publishNotReadyAddresses")
    return found
