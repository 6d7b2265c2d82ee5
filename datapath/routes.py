"""Routes as rtnetlink tells them, read by hand: a full table may hold a million of them.

Only two questions are asked: by which devices anything global is reached, and over which next hops one address is.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from announcer.model.net import IPAddress
from datapath.netlink import HEADER
from datapath.parts import Prefix

#: ``struct rtmsg``: family, destination length, source length, TOS, table, protocol, scope, type, flags.
RTMSG = struct.Struct("=8BI")
_NEXTHOP = struct.Struct("=HBBi")
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA = 1, 4, 5, 9, 18
RTN_UNICAST = 1
RTM_F_CLONED, RTM_F_FIB_MATCH = 0x200, 0x2000
_RT_TABLE_LOCAL = 255
_RTNH_F_DEAD = 1

#: An interface index and an address on its link.
Hop = tuple[int, IPAddress]


class Reach(NamedTuple):
    """Interface indexes with a route to something global, and of these the ones with a default route."""

    anywhere: set[int]
    default: set[int]


def attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each ``struct rtattr``."""
    while offset + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def note(data: bytes, reach: Reach) -> None:
    """Add what one route of a dump says. Routes to this node, to links and groups alone, and cached ones say nothing.

    Every table counts: VRFs and policy rules have tables of their own, and packets come in by their devices too.
    """
    _, length, _, _, table, _, _, kind, flags = RTMSG.unpack_from(data, HEADER.size)
    if kind != RTN_UNICAST or table == _RT_TABLE_LOCAL or flags & RTM_F_CLONED:
        return
    found: set[int] = set()
    for attribute, value in attributes(data, HEADER.size + RTMSG.size, len(data)):
        if attribute == _RTA_DST and not _is_global(value):
            return
        if attribute == _RTA_OIF:
            found.add(struct.unpack("=I", value)[0])
        elif attribute == _RTA_MULTIPATH:
            found.update(ifindex for ifindex, _ in _nexthops(value))
    reach.anywhere.update(found)
    if length == 0:
        reach.default.update(found)


def prefix(data: bytes) -> Prefix | None:
    """The destinations that a route, or a rule, of a dump is about; None if it is not for addresses of IP.

    ``struct fib_rule_hdr`` begins like ``struct rtmsg``, and FRA_DST is RTA_DST.
    """
    family, length = data[HEADER.size], data[HEADER.size + 1]
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    version = 4 if family == socket.AF_INET else 6
    first = bytes(4 if version == 4 else 16)
    for attribute, value in attributes(data, HEADER.size + RTMSG.size, len(data)):
        if attribute == _RTA_DST:
            first = value
    return version, int.from_bytes(first, "big"), length


def hops(data: bytes, address: IPAddress) -> frozenset[Hop]:
    """All next hops of a route that ``ip route get fibmatch`` found; ``address`` itself if it is on the link."""
    ifindex, via, several = 0, address, set[Hop]()
    for attribute, value in attributes(data, HEADER.size + RTMSG.size, len(data)):
        if attribute == _RTA_OIF:
            ifindex = struct.unpack("=I", value)[0]
        elif attribute in (_RTA_GATEWAY, _RTA_VIA):
            via = _gateway(attribute, value)
        elif attribute == _RTA_MULTIPATH:
            for index, rest in _nexthops(value):
                gateways = [_gateway(kind, each) for kind, each in attributes(rest, 0, len(rest)) if kind in (5, 18)]
                several.add((index, gateways[0] if gateways else address))
    return frozenset(several or {(ifindex, via)})


def _nexthops(value: bytes) -> Iterator[tuple[int, bytes]]:
    """Index and attributes of each ``struct rtnexthop`` that is not dead."""
    offset = 0
    while offset + _NEXTHOP.size <= len(value):
        length, flags, _, ifindex = _NEXTHOP.unpack_from(value, offset)
        if length < _NEXTHOP.size:
            return
        if not flags & _RTNH_F_DEAD:
            yield ifindex, value[offset + _NEXTHOP.size : offset + length]
        offset += (length + 3) & ~3


def _gateway(attribute: int, value: bytes) -> IPAddress:
    return ip_address(value if attribute == _RTA_GATEWAY else value[2:])


def _is_global(value: bytes) -> bool:
    """Not loopback, link-local or multicast; by the first bytes, for there may be many."""
    if len(value) == 4:
        return value[0] != 127 and value[:2] != b"\xa9\xfe" and value[0] < 224
    return value[0] != 0xFF and not (value[0] == 0xFE and value[1] & 0xC0 == 0x80)


def get_request(address: IPAddress, flags: int = 0) -> bytes:
    """The body of an RTM_GETROUTE for one address."""
    size = len(address.packed)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = RTMSG.pack(family, size * 8, 0, 0, 0, 0, 0, 0, flags)
    return head + struct.pack("=HH", 4 + size, _RTA_DST) + address.packed
