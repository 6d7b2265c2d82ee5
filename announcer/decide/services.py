"""From Services to claims: which Service wants which VIP, or why it gets none."""

from __future__ import annotations

from collections.abc import Iterable, Set

import msgspec

from announcer.config.types import Config
from announcer.decide.remarks import remarks
from announcer.decide.reserved import Reserved
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


def decide_services(
    snapshot: Snapshot, config: Config, reserved: Reserved, before: Claims, changed: Set[ObjectKey]
) -> tuple[Claims, set[IPAddress]]:
    """Sort Services into claims: those that have ``changed`` since ``before``, and their :func:`dependents`.

    Also the VIPs that this may matter to. The order of a shared VIP's Services is by age, then name, on every node.
    """
    decisions = dict(before.decisions)
    claimed: dict[IPAddress, list[Service]] = {}
    touched: set[IPAddress] = set()
    held = _held_addresses(snapshot, changed)
    for key in changed:
        touched.update(_claimed(decisions.pop(key, None)))
        service = snapshot.services.get(key)
        if service is not None:
            decisions[key] = _decide(snapshot, config, service, reserved, held)
            for vip in _claimed(decisions[key]):
                claimed.setdefault(vip, []).append(service)
    touched.update(claimed)
    by_vip = dict(before.by_vip)
    for vip in touched:
        stay = (service for service in by_vip.pop(vip, ()) if service.key not in changed)
        found = sorted((*stay, *claimed.get(vip, ())), key=by_age)
        if found:
            by_vip[vip] = tuple(found)
    return Claims(by_vip=by_vip, decisions=decisions), touched


def by_age(service: Service) -> tuple[str, ObjectKey]:
    """Sorts Services: who came first goes first."""
    return service.creation_timestamp, service.key


def dependents(snapshot: Snapshot, changed: Set[ObjectKey]) -> set[ObjectKey]:
    """The Services to decide about once some have ``changed``.

    Whether ``externalIPs`` are served depends on who else has these addresses; all others stand alone.
    """
    if not changed:
        return set()
    return {*changed, *(key for key, service in snapshot.services.items() if service.external_ips)}


def _claimed(decision: ServiceDecision | None) -> tuple[IPAddress, ...]:
    return decision.vips if decision is not None and decision.reason is None else ()


def _decide(
    snapshot: Snapshot,
    config: Config,
    service: Service,
    reserved: Reserved,
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
        problem = _forbidden(config, vip, reserved)
        if problem:
            return ServiceDecision(key=key, vips=vips, reason=Reason.IP_NOT_ALLOWED, detail=problem)
    external, refused = _external_ips(config, service, reserved, held)
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


def _held_addresses(snapshot: Snapshot, keys: Iterable[ObjectKey]) -> dict[IPAddress, tuple[Service, ...]]:
    """Which addresses were given to which Services of type LoadBalancer; nothing if none of ``keys`` has to know."""
    held: dict[IPAddress, tuple[Service, ...]] = {}
    services = (snapshot.services.get(key) for key in keys)
    if not any(service is not None and service.external_ips for service in services):
        return held
    for service in snapshot.services.values():
        if service.type == "LoadBalancer":
            for address in _own_addresses(snapshot, service):
                held[address] = (*held.get(address, ()), service)
    return held


def _external_ips(
    config: Config, service: Service, reserved: Reserved, held: dict[IPAddress, tuple[Service, ...]]
) -> tuple[tuple[IPAddress, ...], tuple[str, ...]]:
    """The ``externalIPs`` that are served, and in words why others are not.

    Whoever may write a Service may write any address there (CVE-2020-8554). So it has to lie in a pool, and one that
    was given to another Service is only for those that share it with that Service.
    """
    allowed: list[IPAddress] = []
    refused: list[str] = []
    for address in service.external_ips:
        problem = _forbidden(config, address, reserved) or _strange(service, address, held.get(address, ()))
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


def _forbidden(config: Config, vip: IPAddress, reserved: Reserved) -> str:
    """Why ``vip`` may not be announced, or an empty string."""
    holder = reserved.holder_of(vip)
    if not holder and not any(pool.contains(vip) for pool in config.pools):
        return f"{vip} is in no pool of the bgp-config"
    return holder
