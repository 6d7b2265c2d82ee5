"""What should be so, and for each thing that should not: the reason. Made by ``announcer.decide`` alone."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.bgp import Neighbor, Route
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.objects import ObjectKey


class Reason(StrEnum):
    """Why something is not announced. Stable strings: operators search for them, scripts match them."""

    NO_ENDPOINTS = "noEndpoints"
    NO_LOCAL_ENDPOINTS = "noLocalEndpoints"
    NO_IP_ALLOCATED = "noIPAllocated"
    IP_NOT_ALLOWED = "ipNotAllowed"
    NOT_LOAD_BALANCER = "notLoadBalancer"
    SERVICE_DELETED = "serviceDeleted"
    FRONTEND_CONFLICT = "frontendConflict"
    CLASS_NOT_OURS = "classNotOurs"
    NODE_EXCLUDED = "nodeExcluded"
    NODE_DRAINING = "nodeDraining"
    NODE_NETWORK_UNAVAILABLE = "nodeNetworkUnavailable"
    NO_PEERS = "noPeers"
    FAMILY_NOT_CARRIED = "familyNotCarried"
    NOT_PROVEN = "notProven"
    DAMPED = "damped"
    DATAPATH_ERROR = "datapathError"
    PEER_NOT_ESTABLISHED = "peerNotEstablished"
    NOT_SELECTED_FOR_PEER = "notSelectedForPeer"
    NOT_ADVERTISED = "notAdvertised"
    SECRET_MISSING = "secretMissing"
    PEER_ADDRESS_TAKEN = "peerAddressTaken"
    CONFIG_INVALID = "configInvalid"
    CONFIG_MISSING = "configMissing"
    SOURCES_NOT_SYNCED = "sourcesNotSynced"


class BackendCount(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Endpoints of a VIP, by address: known, serving (they may take new connections), and serving on this node."""

    total: int = 0
    serving: int = 0
    local: int = 0


class VipDecision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One VIP: whether this node should announce it, and if not, why.

    ``routes`` are the prefixes that cover it (several if the pool has several advertisements). ``frontends`` are
    served whether or not the VIP is announced: an allocated VIP without backends drops its packets rather than
    letting them loop between node and router.
    """

    vip: IPAddress
    services: tuple[ObjectKey, ...]
    pool: str = ""
    reason: Reason | None = None
    detail: str = ""
    routes: tuple[IPNetwork, ...] = ()
    frontends: tuple[FrontendKey, ...] = ()
    backends: BackendCount = BackendCount()


class ServiceDecision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One Service: its VIPs, or why it has none. ``notes`` are remarks for people that refuse nothing."""

    key: ObjectKey
    vips: tuple[IPAddress, ...] = ()
    reason: Reason | None = None
    detail: str = ""
    notes: tuple[str, ...] = ()


class PodCidrDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One Pod CIDR of this node."""

    prefix: IPNetwork
    reason: Reason | None = None
    detail: str = ""


class PeerRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A peer of the bgp-config with which this node has no session, and why."""

    peer: str
    reason: Reason
    detail: str = ""


class DesiredRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A route that a peer should hold, and the VIPs that stand behind it.

    ``vips`` empty: it needs no proof (a Pod CIDR). Otherwise it may be announced while at least one of them is
    proven.
    """

    route: Route
    vips: tuple[IPAddress, ...] = ()

    @property
    def is_aggregate(self) -> bool:
        """True if it may cover addresses that are no VIP."""
        return bool(self.vips) and self.route.nlri.prefixlen < self.route.nlri.max_prefixlen


class NodeDrain(msgspec.Struct, frozen=True, kw_only=True):
    """This node is to be taken out of service. ``by``: on whose word, for people.

    ``kept``: VIPs that it goes on announcing all the same, because too few other nodes would be left to.
    """

    by: tuple[str, ...]
    kept: tuple[IPAddress, ...] = ()


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a load balancer that asks on the ``healthCheckNodePort`` of a Service is told about this node.

    ``local_endpoints``: how many endpoints here may take new connections. ``refused``: why the node wants no traffic
    however many there are.
    """

    service: ObjectKey
    port: int
    vips: tuple[IPAddress, ...]
    local_endpoints: int = 0
    refused: Reason | None = None


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that should be so on this node at one revision of the inputs.

    ``synced`` False: some source has not delivered its first complete state; nothing may be removed, announced or
    withdrawn on the strength of such a value. ``complete`` False: part of a source could not be understood, so what is
    here counts, but nothing may be concluded from what is not. ``rib``: per neighbor name, what its Adj-RIB-Out should
    hold. ``shed``: what takes the place of a route that a neighbor holds before it is withdrawn for a drain: the same
    with the community GRACEFUL_SHUTDOWN, so that a router finds another way while this one still works (RFC 8326).
    ``by_nodes``: names of nodes to which packets for their backends are sent, or would be if an address were known.
    """

    revision: int
    synced: bool
    complete: bool = True
    neighbors: dict[str, Neighbor] = {}
    frontends: dict[FrontendKey, Frontend] = {}
    rib: dict[str, dict[IPNetwork, DesiredRoute]] = {}
    vips: dict[IPAddress, VipDecision] = {}
    services: dict[ObjectKey, ServiceDecision] = {}
    pod_cidrs: tuple[PodCidrDecision, ...] = ()
    refused_peers: tuple[PeerRefusal, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()
    drain: NodeDrain | None = None
    shed: dict[str, dict[IPNetwork, Route]] = {}
    by_nodes: frozenset[str] = frozenset()
