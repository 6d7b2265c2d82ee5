"""A valid bgp-config as values. Field names are those of the dialect in snake case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from ipaddress import IPv4Address

import msgspec

from announcer.model.bgp import BfdProfile, Community, LargeCommunity, Origin, Password
from announcer.model.net import Family, IPAddress


class Operator(StrEnum):
    """Operators of a label selector (Kubernetes ``NodeSelectorRequirement`` without Gt and Lt)."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelExpression(msgspec.Struct, frozen=True, kw_only=True):
    """One item of ``match-expressions``. ``values`` is empty exactly for Exists and DoesNotExist."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True if ``labels`` satisfy it. NotIn also holds where the label is absent (as in Kubernetes)."""
        match self.operator:
            case Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


class NodeSelector(msgspec.Struct, frozen=True, kw_only=True):
    """One item of ``node-selectors``: everything in it must hold; an empty one selects every node."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelExpression, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True if a node with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            expression.matches(labels) for expression in self.match_expressions
        )


def _selected(selectors: Sequence[NodeSelector], labels: Mapping[str, str]) -> bool:
    """Selectors are alternatives; none means every node."""
    return not selectors or any(selector.matches(labels) for selector in selectors)


class SecretRef(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a Kubernetes Secret of the configuration's own namespace."""

    name: str
    key: str = "password"


class PeerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One item of ``peers``.

    ``name`` is the address as text, with ``:port`` and ``#asn`` only where that is needed to be unique. ``hold_time``
    in seconds: 0 or 3 to 65535 (RFC 4271 section 4.2). ``router_id`` None: the engine's choice. ``node_selectors`` are
    alternatives; none means every node.

    At most one of ``password`` and ``password_secret`` is set (TCP-MD5, RFC 2385). ``source_address`` None: the
    kernel's choice; else of the family of ``address``. ``multihop`` is only True for eBGP. ``ttl_security`` (GTSM,
    RFC 5082) None: on for eBGP without multihop, off otherwise; never True together with ``multihop``. ``passive``:
    wait for the peer to connect, at ``port`` of this node. ``graceful_restart``: restart time in seconds, 1 to 4095
    (RFC 4724); None: not offered. ``families``: of the routes that the session carries, in a fixed
    order; none named: the family of ``address``. ``bfd``: the profile that ``bfd-profile`` names.
    """

    name: str
    address: IPAddress
    peer_asn: int
    my_asn: int
    port: int = 179
    hold_time: int = 90
    router_id: IPv4Address | None = None
    node_selectors: tuple[NodeSelector, ...] = ()
    password: Password | None = None
    password_secret: SecretRef | None = None
    source_address: IPAddress | None = None
    multihop: bool = False
    ttl_security: bool | None = None
    passive: bool = False
    graceful_restart: int | None = None
    families: tuple[Family, ...] = ()
    bfd: BfdProfile | None = None

    @property
    def internal(self) -> bool:
        """True for iBGP."""
        return self.peer_asn == self.my_asn

    def selects(self, labels: Mapping[str, str]) -> bool:
        """True if a node with these labels should have a session with this peer."""
        return _selected(self.node_selectors, labels)


class AddressRange(msgspec.Struct, frozen=True):
    """Addresses from ``first`` to ``last``, both included, of one family, ``first <= last``."""

    first: IPAddress
    last: IPAddress

    @property
    def size(self) -> int:
        """How many addresses."""
        return int(self.last) - int(self.first) + 1

    def contains(self, address: IPAddress) -> bool:
        """True if ``address`` is one of them."""
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)


class Advertisement(msgspec.Struct, frozen=True, kw_only=True):
    """One item of ``bgp-advertisements``: every VIP of the pool makes one route of it.

    ``local_pref`` None: not set, so the engine's default holds. (The dialect's origin sent an explicit 0, which loses
    against everything.) ``communities``: aliases resolved; they and ``large_communities`` sorted, without duplicates.
    ``med`` None: not sent. ``prepend``: how many times the local ASN is added to the AS_PATH on eBGP, 0 to 10.
    ``peers``: names of peers that get the route (an address in the file stands for every peer that has it), sorted;
    none means all. ``node_selectors``: nodes that announce it; none means all.
    """

    aggregation_length: int = 32
    aggregation_length_v6: int = 128
    local_pref: int | None = None
    communities: tuple[Community, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()
    med: int | None = None
    prepend: int = 0
    origin: Origin = Origin.IGP
    peers: tuple[str, ...] = ()
    node_selectors: tuple[NodeSelector, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """True if a node with these labels announces it."""
        return _selected(self.node_selectors, labels)

    def reaches(self, peer: str) -> bool:
        """True if the peer of this name gets it."""
        return not self.peers or peer in self.peers

    def length(self, version: int) -> int:
        """Bits of the prefix for an address of this IP version (4 or 6)."""
        return self.aggregation_length if version == 4 else self.aggregation_length_v6


class Readiness(StrEnum):
    """Which endpoints may take new connections.

    ``ready``: ready ones and no others. ``ready-then-serving``: ready ones; where there are none left, those that
    terminate and still answer (KEP-1669).
    """

    READY = "ready"
    READY_THEN_SERVING = "ready-then-serving"


class ZeroEndpoints(StrEnum):
    """What becomes of the route to a VIP whose last endpoint is gone.

    ``withdraw``: it is taken back, so that another site may take over. ``keep``: it stays, and packets are dropped and
    counted here: for routers that cannot bear a route that comes and goes.
    """

    WITHDRAW = "withdraw"
    KEEP = "keep"


class NotReadyConnections(StrEnum):
    """What becomes of the TCP connections of an endpoint that is not ready any more, and does not terminate.

    ``reset``: it counts as dead, so another backend gets them, and clients connect anew at once. ``keep``: it keeps
    them until it leaves its slice, as with kube-proxy.
    """

    RESET = "reset"
    KEEP = "keep"


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """One item of ``address-pools``. ``advertisements`` is never empty: without any, one with the defaults holds."""

    name: str
    ranges: tuple[AddressRange, ...]
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    readiness: Readiness = Readiness.READY_THEN_SERVING
    zero_endpoints: ZeroEndpoints = ZeroEndpoints.WITHDRAW
    not_ready_connections: NotReadyConnections = NotReadyConnections.RESET
    advertisements: tuple[Advertisement, ...] = (Advertisement(),)

    def contains(self, address: IPAddress) -> bool:
        """True if ``address`` lies in the pool."""
        return any(item.contains(address) for item in self.ranges)

    def allows(self, address: IPAddress) -> bool:
        """True if ``address`` may be given to a Service from this pool (``avoid-buggy-ips``: no IPv4 .0 and .255)."""
        buggy = self.avoid_buggy_ips and address.version == 4 and int(address) & 0xFF in (0, 0xFF)
        return self.contains(address) and not buggy


class PodCidrs(msgspec.Struct, frozen=True, kw_only=True):
    """``pod-cidrs``: whether a node announces its Pod CIDRs, and how. They are announced as they are: no lengths."""

    announce: bool = True
    advertisement: Advertisement = Advertisement()


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """``drain``: when the Node object alone takes a node out of service.

    ``on_cordon``: when it is marked unschedulable. ``taints``: keys of taints that do, besides ``lockstep/drain``.
    ``floor``: how many nodes go on announcing a VIP though all of them are to drain.
    """

    on_cordon: bool = False
    taints: tuple[str, ...] = ()
    floor: int = 1


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole bgp-config. ``communities`` are the aliases of ``bgp-communities``; pools do not overlap."""

    peers: tuple[PeerConfig, ...] = ()
    pools: tuple[Pool, ...] = ()
    communities: dict[str, Community] = {}
    pod_cidrs: PodCidrs = PodCidrs()
    drain: Drain = Drain()

    def pool_of(self, address: IPAddress) -> Pool | None:
        """The pool in which ``address`` lies."""
        return next((pool for pool in self.pools if pool.contains(address)), None)
