"""Which clients a Service lets in (``loadBalancerSourceRanges``)."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Network, IPv6Network

from announcer.model.net import IPNetwork
from announcer.model.objects import Service


def source_ranges(service: Service, version: int) -> tuple[IPNetwork, ...] | None:
    """The clients that are let in to a VIP of this IP version, disjoint and sorted; None: everybody.

    Ranges of the other family alone let nobody in. (kube-proxy lets all in then; whoever lists who may come in has
    not said that of anybody else.)
    """
    if not service.source_ranges:
        return None
    ranges = _collapsed(service.source_ranges, version)
    return None if any(prefix.prefixlen == 0 for prefix in ranges) else ranges


def _collapsed(ranges: tuple[IPNetwork, ...], version: int) -> tuple[IPNetwork, ...]:
    if version == 4:
        return tuple(ipaddress.collapse_addresses(one for one in ranges if isinstance(one, IPv4Network)))
    return tuple(ipaddress.collapse_addresses(one for one in ranges if isinstance(one, IPv6Network)))
