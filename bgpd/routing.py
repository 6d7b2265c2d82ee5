"""The local address that a session will have, asked of the kernel's routing before there is a session."""

from __future__ import annotations

import ipaddress
import socket
from hashlib import blake2s
from ipaddress import IPv4Address

import msgspec

from announcer.model.bgp import Neighbor
from announcer.model.errors import TargetError
from announcer.model.net import Family, IPAddress
from bgpd.addresses import any_ipv4, sibling


def source_toward(address: IPAddress, port: int) -> IPAddress:
    """The source address the kernel would use towards ``address``. Sends nothing: connecting a UDP socket only routes.

    Raises TargetError if there is no route.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), port))
        except OSError as error:
            raise TargetError(f"route to {address}", errno=error.errno or 0) from error
        return ipaddress.ip_address(probe.getsockname()[0])


def with_router_id(neighbor: Neighbor) -> Neighbor:
    """``neighbor`` with a router id: its own, else the local address that its session has or will have.

    For an IPv6 session: the IPv4 address of the same interface, else any of this node, else a number made of the IPv6
    address; all that it must be is unique among the speakers of an AS (RFC 6286).
    Raises TargetError if that cannot be known because there is no route to the peer.
    """
    if neighbor.router_id is not None:
        return neighbor
    local = neighbor.local_address or source_toward(neighbor.address, neighbor.port)
    if local.version == 6:
        local = sibling(local, Family.IPV4) or any_ipv4() or _number_of(local)
    return msgspec.structs.replace(neighbor, router_id=local)


def _number_of(address: IPAddress) -> IPv4Address:
    return IPv4Address(int.from_bytes(blake2s(address.packed, digest_size=4).digest(), "big") or 1)
