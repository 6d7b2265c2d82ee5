"""From Services to claims: which Service wants which VIP, or why it gets none."""

from __future__ import annotations

import ipaddress

import msgspec

from announcer.config.types import Config
from announcer.decide.remarks import remarks
from announcer.ipam.wishes import share_refusal, wish_of
from announcer.model.desired import Reason, ServiceDecision
from announcer.model.names import LOAD_BALANCER_CLASS
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey, Service
from announcer.snapshot import Snapshot

#: Set on a Service that another proxy than the cluster's default is to serve (KEP-2447).
PROXY_LABEL = "service.kubernetes.io/service-proxy-name"


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """``by_vip``: the Services behind each VIP, oldest first. ``decisions``: one for every Service."""

    by_vip: dict[IPAddress, tuple[Service, ...]] = {}
    decisions: dict[ObjectKey, ServiceDecision] = {}


def decide_services(snapshot: Snapshot, config: Config) -> Claims:
    """Sort all Services into claims. The order of a shared VIP's Services is by age, then name, on every node."""
    reserved = _reserved_addresses(snapshot, config)
    held = _held_addresses(snapshot)
    by_vip: dict[IPAddress, list[Service]] = {}
    decisions: dict[ObjectKey, ServiceDecision] = {}
    for service in sorted(snapshot.services.values(), key=lambda s: (s.creation_timestamp, s.key)):
        decision = _decide(snapshot, config, service, reserved, held)
        decisions[service.key] = decision
        if decision.reason is None:
            for vip in decision.vips:
                by_vip.setdefault(vip, []).append(service)
    return Claims(by_vip={vip: tuple(found) for vip, found in by_vip.items()}, decisions=decisions)


def _decide(
    snapshot: Snapshot,
    config: Config,
    service: Service,
    reserved: dict[IPAddress, str],
    held: dict[IPAddress, tuple[Service, ...]],
) -> ServiceDecision:
    key = service.key
    balancer = service.type == "LoadBalancer"
    if not balancer and (not service.external_ips or service.type == "ExternalName"):
        return ServiceDecision(key=key, reason=Reason.NOT_LOAD_BALANCER, detail=f"type is {service.type}")
    other = _other_controller(service)
    if other:
        return ServiceDecision(key=key, reason=Reason.CLASS_NOT_OURS, detail=other)
    vips = _own_addresses(snapshot, service) if balancer else ()
    for vip in vips:
        problem = _forbidden(snapshot, config, vip, reserved)
        if problem:
            return ServiceDecision(key=key, vips=vips, reason=Reason.IP_NOT_ALLOWED, detail=problem)
    external, refused = _external_ips(snapshot, config, service, reserved, held)
    if not vips and not external and balancer:
        detail = snapshot.refused.get(key, "nothing has allocated an address for it")
        return ServiceDecision(key=key, reason=Reason.NO_IP_ALLOCATED, detail=detail, notes=refused)
    if not vips and not external:
        return ServiceDecision(key=key, reason=Reason.IP_NOT_ALLOWED, detail="; ".join(refused))
    all_vips = tuple(dict.fromkeys((*vips, *external)))
    return ServiceDecision(key=key, vips=all_vips, notes=(*refused, *remarks(service, all_vips)))


def _other_controller(service: Service) -> str:
    """Whose the Service is, in words; empty if it is ours."""
    if service.load_balancer_class not in ("", LOAD_BALANCER_CLASS):
        return f"loadBalancerClass {service.load_balancer_class!r} belongs to another controller"
    proxy = service.labels.get(PROXY_LABEL)
    return f"the label {PROXY_LABEL} gives it to the proxy {proxy!r}" if proxy is not None else ""


def _own_addresses(snapshot: Snapshot, service: Service) -> tuple[IPAddress, ...]:
    return service.ingress or snapshot.allocated.get(service.key, ())


def _held_addresses(snapshot: Snapshot) -> dict[IPAddress, tuple[Service, ...]]:
    """Which addresses were given to which Services of type LoadBalancer."""
    held: dict[IPAddress, tuple[Service, ...]] = {}
    for service in snapshot.services.values():
        if service.type == "LoadBalancer":
            for address in _own_addresses(snapshot, service):
                held[address] = (*held.get(address, ()), service)
    return held


def _external_ips(
    snapshot: Snapshot,
    config: Config,
    service: Service,
    reserved: dict[IPAddress, str],
    held: dict[IPAddress, tuple[Service, ...]],
) -> tuple[tuple[IPAddress, ...], tuple[str, ...]]:
    """The ``externalIPs`` that are served, and in words why others are not.

    Whoever may write a Service may write any address there (CVE-2020-8554). So it has to lie in a pool, and one that
    was given to another Service is only for those that share it with that Service.
    """
    allowed: list[IPAddress] = []
    refused: list[str] = []
    for address in service.external_ips:
        problem = _forbidden(snapshot, config, address, reserved) or _strange(service, address, held.get(address, ()))
        if problem:
            refused.append(f"externalIPs: {problem}")
        else:
            allowed.append(address)
    return tuple(allowed), tuple(refused)


def _strange(service: Service, address: IPAddress, owners: tuple[Service, ...]) -> str:
    for owner in owners:
        refusal = share_refusal(wish_of(service), wish_of(owner))
        if owner.key != service.key and refusal:
            return f"{address} belongs to the Service {owner.key}; {refusal}"
    return ""


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
