"""What the node serves: frontends and their backends, and what was read back of them from the kernel."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from announcer.model.net import IPAddress, IPNetwork, Protocol


class FrontendKey(msgspec.Struct, frozen=True, order=True, cache_hash=True, gc=False):
    """What a packet is matched by: destination address, transport protocol, destination port."""

    vip: IPAddress
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        """``203.0.113.10:80/TCP``, IPv6 in brackets."""
        host = f"[{self.vip}]" if self.vip.version == 6 else str(self.vip)
        return f"{host}:{self.port}/{self.protocol}"


class Backend(msgspec.Struct, frozen=True, order=True, cache_hash=True, gc=False):
    """A real server: where packets of a frontend are taken.

    ``local``: it runs on this node, so packets are translated (DNAT) and handed to it; otherwise they are sent on as
    the frontend's mode says. ``node``: the address of its node, if packets are sent there; None: to its own address.
    """

    address: IPAddress
    port: int
    local: bool = False
    node: IPAddress | None = None

    @property
    def sent_to(self) -> IPAddress:
        """The address that packets for it are sent to from another node."""
        return self.node or self.address


class Mode(StrEnum):
    """How a remote backend gets the packets of a frontend, and who answers the client.

    ``dsr``: by IP in IP, with the client's address inside; the backend's node answers the client. ``geneve``: the same
    by Geneve (RFC 8926) to the backend's node. ``snat``: from an address of this node, to which the backend answers,
    and which answers the client. A local backend always gets the client's address.
    """

    DSR = "dsr"
    SNAT = "snat"
    GENEVE = "geneve"


class LbMode(StrEnum):
    """The mode of a whole installation or of a Service. ``hybrid``, ``hybrid-geneve``: UDP by SNAT, TCP and SCTP by DSR
    in IP in IP or in Geneve.
    """

    DSR = "dsr"
    GENEVE = "geneve"
    SNAT = "snat"
    HYBRID = "hybrid"
    HYBRID_GENEVE = "hybrid-geneve"

    def of(self, protocol: Protocol) -> Mode:
        """The mode of a frontend of this protocol."""
        match self:
            case LbMode.HYBRID:
                return Mode.SNAT if protocol is Protocol.UDP else Mode.DSR
            case LbMode.HYBRID_GENEVE:
                return Mode.SNAT if protocol is Protocol.UDP else Mode.GENEVE
            case _:
                return Mode(self.value)


class PortRange(NamedTuple):
    """Transport ports from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        """``61000-65535``."""
        return f"{self.first}-{self.last}"

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Of ``FIRST-LAST``, within 1024 to 65535. Raises ``ValueError``, with words for people."""
        first, _, last = text.partition("-")
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            raise ValueError(f'"{text}" is not FIRST-LAST, two port numbers')
        found = cls(int(first), int(last))
        if not 1024 <= found.first <= found.last <= 65535:
            raise ValueError(f"{text} does not lie within 1024-65535, the lower port first")
        return found


#: Where SNAT takes its ports by default: above the kernel's default for the node's own connections (32768-60999).
DEFAULT_SNAT_PORTS = PortRange(61000, 65535)


class Frontend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A frontend and the backends that may take its new connections.

    ``backends`` is sorted and without duplicates, so that equal sets compare equal. An empty set is a real state:
    the address is ours, nothing serves this port, packets to it are dropped and counted.

    ``terminating``: backends that take no new connections and keep those that they have (KEP-1669), sorted, none of
    them in ``backends``; others that are not ready too, if their Service wants it. One that is in neither counts as
    dead: another backend gets its connections, and resets them.

    ``for_others``: endpoints on this node to which it sends nothing, sorted, of another address than those in both.
    Packets that other nodes send to them are taken all the same: nodes learn of a change one after the other, and
    some are told by hints to use other endpoints than this one.

    ``mode``: how remote backends get their packets.

    ``affinity``: the backend is chosen by the client's address alone (``sessionAffinity: ClientIP``).

    ``source_ranges``: the clients that are let in, in the family of the VIP, disjoint and sorted; None: everybody, an
    empty tuple: nobody (``loadBalancerSourceRanges``).

    ``reject``: packets for which there is no backend are answered, with a reset or "port unreachable", and not dropped.
    """

    key: FrontendKey
    backends: tuple[Backend, ...] = ()
    terminating: tuple[Backend, ...] = ()
    for_others: tuple[Backend, ...] = ()
    affinity: bool = False
    source_ranges: tuple[IPNetwork, ...] | None = None
    reject: bool = False
    mode: Mode = Mode.DSR


class Hook(StrEnum):
    """Where the ingress program of a device sits."""

    XDP_NATIVE = "xdp-native"
    XDP_GENERIC = "xdp-generic"
    TC = "tc"


class DeviceObserved(msgspec.Struct, frozen=True, kw_only=True):
    """An ingress device as the kernel has it.

    ``attached``: both programs (ingress and egress) are ours, attached by links that are pinned, and it was the
    kernel that said so. ``unpinned``: they run, but would not outlive the agent, because somebody took the pins away.
    ``needed`` False: packets may arrive on it too, but VIPs are announced without it.
    """

    name: str
    ifindex: int
    hook: Hook | None = None
    attached: bool = False
    unpinned: bool = False
    needed: bool = True
    problem: str = ""


class MapUsage(msgspec.Struct, frozen=True):
    """How full a map is, in entries."""

    used: int
    max: int


class Proof(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the last proof of a VIP found.

    ``at`` in CLOCK_MONOTONIC seconds; ``since``: when proofs of this VIP began to end as this one did (set by
    ``fold``). ``problem`` is empty if ``ok``. A proof covers every frontend of the VIP: entries read back equal to what
    was decided, and a synthetic packet through the attached program with the expected verdict and rewrite.
    """

    ok: bool
    at: float
    since: float = 0.0
    problem: str = ""
