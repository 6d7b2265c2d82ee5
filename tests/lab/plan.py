"""The lab's addresses and names, as one value.

::

    client ── router ─┬─ (bridge lan) ─┬─ n1 ─┬─ n1p1
    198.51.100.0/24   192.168.1.0/24   │      └─ n1p2
                                       └─ n2 ─┬─ n2p1 …

Everything else is derived from here, so that a test never repeats an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

HTTP_PORT = 8080
UDP_PORT = 5353

LAN_MTU = 1600
"""The segment between router and nodes has room for one IPIP header around a full client packet."""
EDGE_MTU = 1500
"""Links of the client and of the pods."""

CLIENT_ADDRESS = IPv4Address("198.51.100.10")
CLIENT_GATEWAY = IPv4Address("198.51.100.1")
CLIENT_PREFIX_LENGTH = 24

MAX_NODES = 200
MAX_PODS_PER_NODE = 200


@dataclass(frozen=True)
class PodPlan:
    """One pod: its name, its address, and the name of the node's end of its link."""

    name: str
    address: IPv4Address
    host_device: str


@dataclass(frozen=True)
class NodePlan:
    """One node: its name, its address on the segment, its Pod CIDR and the pods in it."""

    name: str
    address: IPv4Address
    pod_cidr: IPv4Network
    pods: tuple[PodPlan, ...]

    @property
    def pod_gateway(self) -> IPv4Address:
        """The address that every pod of the node has as its default gateway."""
        return self.pod_cidr.network_address + 1


@dataclass(frozen=True)
class SessionOptions:
    """How the router runs its sessions.

    ``ttl_security``: it sends with TTL 255 and takes nothing less (GTSM, RFC 5082); None: so on eBGP, where a router of
    today would, unless ``multihop``. ``password`` for TCP-MD5 (RFC 2385). ``multihop``: neighbors may be behind others.
    """

    ttl_security: bool | None = None
    password: str | None = None
    multihop: bool = False


@dataclass(frozen=True)
class Plan:
    """The whole lab. ``router_asn == node_asn`` makes the sessions iBGP."""

    nodes: tuple[NodePlan, ...]
    router_address: IPv4Address
    lan: IPv4Network
    router_asn: int
    node_asn: int
    session: SessionOptions = SessionOptions()

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
    cidr = IPv4Network(f"10.244.{i}.0/24")
    return NodePlan(
        name=f"n{i}",
        address=lan.network_address + 20 + i,
        pod_cidr=cidr,
        pods=tuple(PodPlan(f"n{i}p{j}", cidr.network_address + 10 + j, f"p{j}") for j in range(1, pods + 1)),
    )
