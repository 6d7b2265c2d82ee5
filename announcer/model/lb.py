"""What the node serves: frontends and their backends, and what was read back of them from the kernel."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.net import IPAddress, IPNetwork, Protocol


class FrontendKey(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """What a packet is matched by: destination address, transport protocol, destination port."""

    vip: IPAddress
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        """``203.0.113.10:80/TCP``, IPv6 in brackets."""
        host = f"[{self.vip}]" if self.vip.version == 6 else str(self.vip)
        return f"{host}:{self.port}/{self.protocol}"


class Backend(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """A real server: where packets of a frontend are taken.

    ``local``: it runs on this node, so packets are translated (DNAT) and handed to it; otherwise they are
    encapsulated (IPIP) towards its own address.
    """

    address: IPAddress
    port: int
    local: bool = False


class Frontend(msgspec.Struct, frozen=True, kw_only=True):
    """A frontend and the backends that may take its new connections.

    ``backends`` is sorted and without duplicates, so that equal sets compare equal. An empty set is a real state:
    the address is ours, nothing serves this port, packets to it are dropped and counted.

    ``terminating``: backends that take no new connections and keep those that they have (KEP-1669), sorted, none of
    them in ``backends``. One that is in neither is gone: its connections are lost whatever is done.

    ``affinity``: the backend is chosen by the client's address alone (``sessionAffinity: ClientIP``).

    ``source_ranges``: the clients that are let in, in the family of the VIP, disjoint and sorted; None: everybody, an
    empty tuple: nobody (``loadBalancerSourceRanges``).

    ``reject``: packets for which there is no backend are answered, with a reset or "port unreachable", and not dropped.
    """

    key: FrontendKey
    backends: tuple[Backend, ...] = ()
    terminating: tuple[Backend, ...] = ()
    affinity: bool = False
    source_ranges: tuple[IPNetwork, ...] | None = None
    reject: bool = False


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


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the last proof of a VIP found.

    ``at`` in CLOCK_MONOTONIC seconds; ``since``: when proofs of this VIP began to end as this one did (set by
    ``fold``). ``problem`` is empty if ``ok``. A proof covers every frontend of the VIP: entries read back equal to what
    was decided, and a synthetic packet through the attached program with the expected verdict and rewrite.
    """

    ok: bool
    at: float
    since: float = 0.0
    problem: str = ""
