"""From Services to claims: which Service wants which VIP, or why it gets none."""

from __future__ import annotations

import ipaddress

import msgspec

from announcer.config.types import Config
from announcer.model.desired import Reason, ServiceDecision
from announcer.model.names import LOAD_BALANCER_CLASS
from announcer.model.net import IPAddress, Protocol
from announcer.model.objects import ObjectKey, Service
from announcer.snapshot import Snapshot

#: Transport protocols that the datapath of this release serves.
SERVED_PROTOCOLS = frozenset({Protocol.TCP, Protocol.UDP})


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """``by_vip``: the Services behind each VIP, oldest first. ``decisions``: one for every Service."""

    by_vip: dict[IPAddress, tuple[Service, ...]] = {}
    decisions: dict[ObjectKey, ServiceDecision] = {}


def decide_services(snapshot: Snapshot, config: Config) -> Claims:
    """Sort all Services into claims. The order of a shared VIP's Services is by age, then name, on every node."""
    reserved = _reserved_addresses(snapshot, config)
    by_vip: dict[IPAddress, list[Service]] = {}
    decisions: dict[ObjectKey, ServiceDecision] = {}
    for service in sorted(snapshot.services.values(), key=lambda s: (s.creation_timestamp, s.key)):
        decision = _decide(snapshot, config, service, reserved)
        decisions[service.key] = decision
        if decision.reason is None:
            for vip in decision.vips:
                by_vip.setdefault(vip, []).append(service)
    return Claims(by_vip={vip: tuple(found) for vip, found in by_vip.items()}, decisions=decisions)


def _decide(snapshot: Snapshot, config: Config, service: Service, reserved: dict[IPAddress, str]) -> ServiceDecision:
    key = service.key
    if service.type != "LoadBalancer":
        detail = f"type is {service.type}"
        return ServiceDecision(key=key, reason=Reason.NOT_LOAD_BALANCER, detail=detail)
    if service.load_balancer_class not in ("", LOAD_BALANCER_CLASS):
        detail = f"loadBalancerClass {service.load_balancer_class!r} belongs to another controller"
        return ServiceDecision(key=key, reason=Reason.CLASS_NOT_OURS, detail=detail)
    vips = service.ingress or snapshot.allocated.get(key, ())
    if not vips:
        detail = snapshot.refused.get(key, "nothing has allocated an address for it")
        return ServiceDecision(key=key, reason=Reason.NO_IP_ALLOCATED, detail=detail)
    for vip in vips:
        problem = _forbidden(snapshot, config, vip, reserved)
        if problem:
            return ServiceDecision(key=key, vips=vips, reason=Reason.IP_NOT_ALLOWED, detail=problem)
    return _decide_support(service, vips)


def _decide_support(service: Service, vips: tuple[IPAddress, ...]) -> ServiceDecision:
    """What the datapath cannot serve must not be announced, not even in part: its packets would be lost."""
    if any(vip.version != 4 for vip in vips):
        detail = "this release serves IPv4 addresses only"
        return ServiceDecision(key=service.key, vips=vips, reason=Reason.FAMILY_NOT_SUPPORTED, detail=detail)
    unserved = [port for port in service.ports if port.protocol not in SERVED_PROTOCOLS]
    if unserved:
        detail = f"port {unserved[0].port} is {unserved[0].protocol}"
        return ServiceDecision(key=service.key, vips=vips, reason=Reason.PROTOCOL_NOT_SUPPORTED, detail=detail)
    return ServiceDecision(key=service.key, vips=vips)


def _reserved_addresses(snapshot: Snapshot, config: Config) -> dict[IPAddress, str]:
    """Addresses that no Service may take over, whatever the pools say, and whose they are (CVE-2020-8554)."""
    reserved: dict[IPAddress, str] = {peer.address: f"the peer {peer.name}" for peer in config.peers}
    for node in snapshot.nodes.values():
        reserved.update(dict.fromkeys(node.addresses, f"the node {node.key}"))
    return reserved


def _forbidden(snapshot: Snapshot, config: Config, vip: IPAddress, reserved: dict[IPAddress, str]) -> str:
    """Why ``vip`` may not be announced, or an empty string."""
    if vip in reserved:
        return f"{vip} is the address of {reserved[vip]}"
    for node in snapshot.nodes.values():
        if any(vip in prefix for prefix in node.pod_cidrs if prefix.version == vip.version):
            return f"{vip} is inside a Pod CIDR of the node {node.key}"
    if vip.is_loopback or vip.is_multicast or vip.is_unspecified or vip.is_link_local:
        return f"{vip} is not a global unicast address"
    if vip == ipaddress.ip_address("255.255.255.255"):
        return f"{vip} is the broadcast address"
    if not any(pool.contains(vip) for pool in config.pools):
        return f"{vip} is in no pool of the bgp-config"
    return ""
