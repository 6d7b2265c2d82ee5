"""The lab's addresses and names, as one value.

::

    client ── router ─┬─ (bridge lan) ─┬─ n1 ─┬─ n1p1
    198.51.100.0/24   192.168.1.0/24   │      └─ n1p2
                                       └─ n2 ─┬─ n2p1 …

All of it is dual stack: the IPv6 addresses end in the same digits (``192.168.1.21`` and ``2001:db8:1::21``). Everything
else is derived from here, so that a test never repeats an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

HTTP_PORT = 8080
UDP_PORT = 5353

LAN_MTU = 1600
"""The segment between router and nodes has room for one IPIP header around a full client packet."""
EDGE_MTU = 1500
"""Links of the client and of the pods."""

CLIENT_ADDRESS = IPv4Address("198.51.100.10")
CLIENT_GATEWAY = IPv4Address("198.51.100.1")
CLIENT_PREFIX_LENGTH = 24
CLIENT_ADDRESS6 = IPv6Address("2001:db8:c::10")
CLIENT_GATEWAY6 = IPv6Address("2001:db8:c::1")
LAN6 = IPv6Network("2001:db8:1::/64")
PREFIX_LENGTH6 = 64

MAX_NODES = 200
MAX_PODS_PER_NODE = 200

Family = Literal["ipv4", "ipv6"]


@dataclass(frozen=True)
class PodPlan:
    """One pod: its name, its addresses, and the name of the node's end of its link."""

    name: str
    address: IPv4Address
    address6: IPv6Address
    host_device: str


@dataclass(frozen=True)
class NodePlan:
    """One node: its name, its addresses on the segment, its Pod CIDRs and the pods in them."""

    name: str
    address: IPv4Address
    address6: IPv6Address
    pod_cidr: IPv4Network
    pod_cidr6: IPv6Network
    pods: tuple[PodPlan, ...]

    @property
    def pod_gateway(self) -> IPv4Address:
        """The address that every pod of the node has as its default gateway."""
        return self.pod_cidr.network_address + 1

    @property
    def pod_gateway6(self) -> IPv6Address:
        """The same for IPv6."""
        return self.pod_cidr6.network_address + 1


@dataclass(frozen=True)
class SessionOptions:
    """How the router runs its sessions.

    ``ttl_security``: it sends with TTL 255 and takes nothing less (GTSM, RFC 5082); None: so on eBGP, where a router of
    today would, unless ``multihop``. ``password`` for TCP-MD5 (RFC 2385). ``multihop``: neighbors may be behind others.
    ``transport``: over which addresses. ``families``: of the routes. ``ipv6_next_hop``: IPv4 routes may have an IPv6
    next hop (RFC 8950); GoBGP always offers that. ``bfd``: 100 ms, fifty times (GoBGP has none): who waits long for a
    CPU is not lost. ``connects``: the router begins the sessions, and tries often; otherwise it waits for its
    neighbors.
    """

    ttl_security: bool | None = None
    password: str | None = None
    multihop: bool = False
    transport: Family = "ipv4"
    families: tuple[Family, ...] = ("ipv4",)
    ipv6_next_hop: bool = False
    bfd: bool = False
    connects: bool = False


@dataclass(frozen=True)
class Plan:
    """The whole lab. ``router_asn == node_asn`` makes the sessions iBGP."""

    nodes: tuple[NodePlan, ...]
    router_address: IPv4Address
    lan: IPv4Network
    router_asn: int
    node_asn: int
    session: SessionOptions = SessionOptions()
    lan6: IPv6Network = LAN6

    @property
    def router_address6(self) -> IPv6Address:
        """The router's IPv6 address on the segment."""
        return _like(self.lan6, self.router_address)

    @property
    def router_end(self) -> IPv4Address | IPv6Address:
        """The router's end of the sessions."""
        return self.router_address if self.session.transport == "ipv4" else self.router_address6

    def node_end(self, node: NodePlan) -> IPv4Address | IPv6Address:
        """A node's end of its session."""
        return node.address if self.session.transport == "ipv4" else node.address6

    @property
    def ttl_security(self) -> bool:
        """True if the router runs GTSM."""
        if self.session.ttl_security is None:
            return self.router_asn != self.node_asn and not self.session.multihop
        return self.session.ttl_security


def make_plan(
    nodes: int,
    pods: int,
    router_address: str,
    router_asn: int,
    node_asn: int,
    session: SessionOptions = SessionOptions(),
) -> Plan:
    """Number nodes and pods from 1 and give them their addresses; raise ValueError for a size that has no addresses."""
    if not 1 <= nodes <= MAX_NODES or not 0 <= pods <= MAX_PODS_PER_NODE:
        raise ValueError(f"the lab has addresses for {MAX_NODES} nodes with {MAX_PODS_PER_NODE} pods each")
    lan = IPv4Network(f"{router_address}/24", strict=False)
    planned = tuple(_node(i, pods, lan) for i in range(1, nodes + 1))
    router = IPv4Address(router_address)
    if router in {node.address for node in planned}:
        raise ValueError(f"{router} is the address of a node")
    return Plan(planned, router, lan, router_asn, node_asn, session)


def _node(i: int, pods: int, lan: IPv4Network) -> NodePlan:
    address = lan.network_address + 20 + i
    cidr, cidr6 = IPv4Network(f"10.244.{i}.0/24"), IPv6Network(f"2001:db8:244:{i}::/64")
    return NodePlan(
        name=f"n{i}",
        address=address,
        address6=_like(LAN6, address),
        pod_cidr=cidr,
        pod_cidr6=cidr6,
        pods=tuple(_pod(f"n{i}p{j}", cidr.network_address + 10 + j, cidr6, f"p{j}") for j in range(1, pods + 1)),
    )


def _pod(name: str, address: IPv4Address, cidr6: IPv6Network, host_device: str) -> PodPlan:
    return PodPlan(name, address, _like(cidr6, address), host_device)


def _like(prefix: IPv6Network, address: IPv4Address) -> IPv6Address:
    """The address in ``prefix`` that ends in the same digits as ``address``."""
    return prefix.network_address + int(str(address).rpartition(".")[2], 16)
