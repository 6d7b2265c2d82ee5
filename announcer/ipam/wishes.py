"""What a Service asks for, in any of the words that users of MetalLB and Cilium have written already.

The annotations of others are read because a Service outlives the component that serves it: whoever migrates must not
have to touch every Service first. Where two of them say different things, nothing is guessed.
"""

from __future__ import annotations

import ipaddress

import msgspec

from announcer.model import names
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey, Service, TrafficPolicy

_METALLB = ("metallb.io/", "metallb.universe.tf/")

ADDRESS_ANNOTATIONS = (
    names.ADDRESSES_ANNOTATION,
    *(prefix + "loadBalancerIPs" for prefix in _METALLB),
    "lbipam.cilium.io/ips",
    "io.cilium/lb-ipam-ips",
)
POOL_ANNOTATIONS = (names.POOL_ANNOTATION, *(prefix + "address-pool" for prefix in _METALLB))
SHARE_ANNOTATIONS = (names.SHARE_ANNOTATION, *(prefix + "allow-shared-ip" for prefix in _METALLB))

#: Cilium's keys count inside one namespace, unless both Services name the other's namespace (or ``*``).
_CILIUM_SHARE = ("lbipam.cilium.io/sharing-key", "io.cilium/lb-ipam-sharing-key")
_CILIUM_ACROSS = ("lbipam.cilium.io/sharing-cross-namespace", "io.cilium/lb-ipam-sharing-cross-namespace")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What one Service asks for.

    ``addresses``: exactly these; empty: any. ``pool``: from this one; empty: from any with auto-assign. ``group``: the
    sharing key, empty if it shares with nobody. ``families``: IP versions, in the Service's order; empty if nothing
    says. ``every_family``: nothing less than all of them will do. ``problem``: why the request makes no sense.
    """

    key: ObjectKey
    ports: frozenset[tuple[str, int]] = frozenset()
    addresses: tuple[IPAddress, ...] = ()
    pool: str = ""
    pool_annotation: str = POOL_ANNOTATIONS[0]
    group: str = ""
    across: frozenset[str] | None = None
    backends: tuple[tuple[str, str], ...] = ()
    families: tuple[int, ...] = ()
    every_family: bool = False
    problem: str = ""


def is_ours(service: Service) -> bool:
    """True if this Service is to have its addresses from us: a load balancer of our class, or of none."""
    return service.type == "LoadBalancer" and service.load_balancer_class in ("", names.LOAD_BALANCER_CLASS)


def wish_of(service: Service) -> Wish:
    """What ``service`` asks for. Never raises: a request that makes no sense is a ``problem``."""
    problems: list[str] = []
    pool_annotation, pool = _one(service, POOL_ANNOTATIONS, problems)
    group, across = _group(service, problems)
    local = service.external_traffic_policy is TrafficPolicy.LOCAL
    families = service.ip_families or tuple(address.version for address in service.cluster_ips)
    return Wish(
        key=service.key,
        ports=frozenset((port.protocol, port.port) for port in service.ports),
        addresses=_addresses(service, problems),
        pool=pool,
        pool_annotation=pool_annotation,
        group=group,
        across=across,
        backends=tuple(sorted(service.selector.items())) if local else (),
        families=tuple(dict.fromkeys(families)),
        every_family=service.ip_family_policy == "RequireDualStack",
        problem="; ".join(problems),
    )


def share_refusal(wish: Wish, other: Wish) -> str:
    """Why the two may not share an address; empty if they may.

    They need the same key and no port twice. With traffic policy Local they also need the same backends: otherwise
    a node that has those of only one of them could not announce the address for both.
    """
    if not wish.group or wish.group != other.group or not _near(wish, other) or not _near(other, wish):
        return f"to share it, give both the same annotation {SHARE_ANNOTATIONS[-1]}"
    twice = min(wish.ports & other.ports, default=None)
    if twice:
        return f"both have the port {twice[1]}/{twice[0]}"
    if wish.backends != other.backends:
        return "with externalTrafficPolicy Local both need the same selector"
    return ""


def _near(wish: Wish, other: Wish) -> bool:
    """True if ``wish`` lets a Service in the namespace of ``other`` share."""
    if wish.across is None or wish.key.namespace == other.key.namespace:
        return True
    return not wish.across.isdisjoint(("*", other.key.namespace))


def _group(service: Service, problems: list[str]) -> tuple[str, frozenset[str] | None]:
    _, key = _one(service, SHARE_ANNOTATIONS, problems)
    if key:
        return key, None
    _, key = _one(service, _CILIUM_SHARE, problems)
    _, across = _one(service, _CILIUM_ACROSS, problems)
    return key, frozenset(word.strip() for word in across.split(",") if word.strip())


def _one(service: Service, annotations: tuple[str, ...], problems: list[str]) -> tuple[str, str]:
    """The annotation that is set, and its value. Several may be set if they agree."""
    found = {name: service.annotations[name] for name in annotations if service.annotations.get(name)}
    if len(set(found.values())) > 1:
        problems.append(f"the annotations {' and '.join(found)} contradict each other")
    return next(iter(found.items()), (annotations[0], ""))


def _addresses(service: Service, problems: list[str]) -> tuple[IPAddress, ...]:
    found: dict[str, tuple[IPAddress, ...]] = {}
    for name in ADDRESS_ANNOTATIONS:
        text = service.annotations.get(name, "").strip()
        if text:
            found[name] = _parse(name, text, problems)
    if service.requested:
        found["spec.loadBalancerIP"] = service.requested
    if len({frozenset(addresses) for addresses in found.values()}) > 1:
        problems.append(f"{' and '.join(found)} ask for different addresses")
    return next(iter(found.values()), ())


def _parse(name: str, text: str, problems: list[str]) -> tuple[IPAddress, ...]:
    addresses: dict[IPAddress, None] = {}
    for word in text.split(","):
        try:
            addresses[ipaddress.ip_address(word.strip())] = None
        except ValueError:
            problems.append(f"the annotation {name} says {word.strip()[:60]!r}, which is not an IP address")
    return tuple(addresses)
