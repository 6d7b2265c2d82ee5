"""What is told to routers: neighbors, routes, and what is known of a session (RFC 4271)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.net import Family, IPAddress, IPNetwork

#: ``high:low`` of RFC 1997, each 16 bits.
Community = tuple[int, int]
#: Global administrator and two local parts of RFC 8092, each 32 bits.
LargeCommunity = tuple[int, int, int]


class Password(msgspec.Struct, frozen=True, order=True):
    """A TCP-MD5 password (RFC 2385). It is shown nowhere: ``repr`` and ``str`` hide it."""

    value: str

    def __repr__(self) -> str:
        """Never the value."""
        return "Password(…)"

    __str__ = __repr__


class BfdProfile(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """How a BFD session is run (RFC 5880). Intervals in milliseconds; the defaults are FRR's.

    ``minimum_ttl``: of packets that are taken, for a peer several hops away. ``echo_mode``: the echo function, for one
    hop. ``passive_mode``: wait for the peer to begin.
    """

    receive_interval: int = 300
    transmit_interval: int = 300
    echo_interval: int = 50
    detect_multiplier: int = 3
    minimum_ttl: int = 254
    echo_mode: bool = False
    passive_mode: bool = False


class Neighbor(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A BGP neighbor as configured. ``name`` is unique and stable: it names the peer everywhere (status, metrics).

    ``port``: where the connection goes to, which is the peer, or this node if it is ``passive``: it waits for the peer
    to connect, at ``local_address``.
    ``hold_time`` in seconds (0, or 3 to 65535; RFC 4271 section 4.2). ``router_id`` None: the engine's choice, the
    local address of the session. ``local_address`` None: the kernel's choice. ``graceful_restart`` is the restart
    time in seconds of RFC 4724, None: not offered. ``multihop``: the peer may be further away than one hop (only has a
    meaning for eBGP). ``ttl_security``: packets of the peer are taken only with TTL 255, and ours are sent with it
    (GTSM, RFC 5082). ``families``: what routes the session is to carry, see
    ``carried``. ``bfd``: the session ends when BFD says that the peer is gone; None: no BFD.
    """

    name: str
    address: IPAddress
    port: int = 179
    peer_asn: int
    local_asn: int
    hold_time: int = 90
    router_id: IPAddress | None = None
    local_address: IPAddress | None = None
    graceful_restart: int | None = None
    password: Password | None = None
    multihop: bool = False
    ttl_security: bool = False
    passive: bool = False
    families: tuple[Family, ...] = ()
    bfd: BfdProfile | None = None

    def same_session(self, other: Neighbor) -> bool:
        """True if to go from this to ``other`` leaves the BGP session as it is. BFD runs beside it."""
        return msgspec.structs.replace(self, name=other.name, bfd=other.bfd) == other

    @property
    def carried(self) -> tuple[Family, ...]:
        """The families of routes that this session is to carry; the family of its own addresses if none are named."""
        return self.families or (Family.of(self.address),)

    @property
    def internal(self) -> bool:
        """True for iBGP: only there LOCAL_PREF is sent (RFC 4271 section 5.1.5)."""
        return self.peer_asn == self.local_asn


class Origin(StrEnum):
    """The ORIGIN attribute (RFC 4271 section 5.1.1); routers prefer the first. EGP has no use here."""

    IGP = "igp"
    INCOMPLETE = "incomplete"


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry of an Adj-RIB-Out: NLRI with its path attributes.

    ``next_hop`` None: this node, by an address that the session allows ("next hop self"). ``local_pref`` None: the
    engine's default on iBGP (100), nothing on eBGP. ``communities`` and ``large_communities`` sorted, without
    duplicates. ``med`` None: not sent. ``prepend``: how many times the local ASN is put before the AS_PATH in addition
    to the usual once (eBGP).
    """

    nlri: IPNetwork
    next_hop: IPAddress | None = None
    local_pref: int | None = None
    communities: tuple[Community, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()
    med: int | None = None
    prepend: int = 0
    origin: Origin = Origin.IGP


class PeerState(StrEnum):
    """The states of RFC 4271 section 8.2.2, as far as the engine tells them apart."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


class RibEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of one prefix towards one peer.

    ``withdrawing`` False: the route was given to the engine. True: its withdrawal was. ``acknowledged``: the engine
    took the last command. ``sent``: the UPDATE for it has left for the peer in the present session. ``replacing``: it
    has not, and until it has, the peer holds a route to the prefix with other attributes. ``next_hop``: the address
    that the last UPDATE for it named, None if there was none in the present session. An entry whose withdrawal was sent
    no longer exists.
    """

    route: Route
    withdrawing: bool = False
    acknowledged: bool = False
    sent: bool = False
    replacing: bool = False
    next_hop: IPAddress | None = None

    @property
    def held(self) -> bool:
        """True if the peer of an Established session holds a route to the prefix that is not on its way out."""
        return (self.sent or self.replacing) and not self.withdrawing


class PeerObserved(msgspec.Struct, frozen=True, kw_only=True):
    """One neighbor as the speaker runs it now.

    ``since``: when ``state`` was entered, seconds of the Unix clock (for people). ``down_since``: the same in
    CLOCK_MONOTONIC seconds if the session is not Established, else None (for decisions). ``session`` counts the
    sessions that came up with this neighbor: 0 before the first. ``end_of_rib``: the session for which End-of-RIB
    was sent for every family, 0 for none. ``unusable``: the families that the neighbor should carry and the present
    session cannot, with the reason; routes of these are held back. ``bfd``: the state of its BFD session (RFC 5880
    section 6.2; ``unknown`` while no daemon runs), None without one.
    """

    neighbor: Neighbor
    state: PeerState = PeerState.IDLE
    since: float = 0.0
    down_since: float | None = None
    session: int = 0
    end_of_rib: int = 0
    last_error: str | None = None
    rib: dict[IPNetwork, RibEntry] = {}
    updates_sent: int = 0
    unusable: dict[Family, str] = {}
    bfd: str | None = None
