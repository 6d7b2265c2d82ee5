"""What the kernel says of links, routes and neighbours: rtnetlink over a plain socket.

The calls are made in place, from inside a running event loop too, which rules out pyroute2's IPRoute (it wants a loop
of its own). pyroute2 still encodes and decodes the messages, on a socket of ours. Only "route get" is packed by hand:
there is one for every remote backend at every read-back, and it takes 12 microseconds so instead of 85.

The socket belongs to the network namespace in which it was opened.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import ip_address
from typing import Any, NamedTuple

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from announcer.model.errors import TargetError
from announcer.model.net import IPAddress
from datapath.netlink import ACK, CREATE, DUMP, HEADER, REPLACE, REQUEST, Netlink

_NEWLINK_GET, _GETROUTE, _NEWNEIGH, _DELNEIGH, _GETNEIGH = 18, 26, 28, 29, 30
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 1, 4, 5, 7, 18
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_MAIN_TABLE = 254
_NTF_EXT_LEARNED, _NTF_EXT_MANAGED = 1 << 4, 1 << 0
_NUD_PERMANENT = 0x80

#: NDA_PROTOCOL of the neighbours that are ours: the kernel keeps and returns it but gives it no meaning.
NEIGHBOUR_PROTOCOL = 76


class Route(NamedTuple):
    """The kernel's way to an address. ``via``: the next hop, the address itself if it is on the link."""

    ifindex: int
    via: IPAddress
    source: IPAddress | None
    local: bool


class Link(NamedTuple):
    """A network device. ``xdp_mode`` of program ``xdp_prog``: 0 none, 1 native, 2 generic, 3 hardware, 4 several."""

    name: str
    ifindex: int
    address: bytes
    xdp_mode: int
    xdp_prog: int

    @property
    def native(self) -> bool:
        """True if its program runs in the driver."""
        return self.xdp_mode == 1


class Neighbours(NamedTuple):
    """Pairs of ifindex and address. ``permanent`` are not ours: somebody configured their link-layer address."""

    ours: set[tuple[int, IPAddress]]
    permanent: set[tuple[int, IPAddress]]


class Rtnl:
    """One rtnetlink socket."""

    def __init__(self) -> None:
        self._netlink = Netlink(socket.NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def route(self, address: IPAddress) -> Route | None:
        """``ip route get``; None if there is no route."""
        size = len(address.packed)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = (
            struct.pack("=8BI", family, size * 8, *(0,) * 6, 0)
            + struct.pack("=HH", 4 + size, _RTA_DST)
            + address.packed
        )
        try:
            reply = next(self._netlink.talk(_GETROUTE, REQUEST, body, f"route get {address}"))
        except TargetError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                return None
            raise
        return _decode_route(reply, address)

    def default_devices(self) -> set[int]:
        """Interface indexes of the default routes of the main tables of both families, all next hops."""
        return self._default_devices(socket.AF_INET) | self._default_devices(socket.AF_INET6)

    def _default_devices(self, family: int) -> set[int]:
        message = rtmsg()
        message["family"] = family
        found: set[int] = set()
        for data in self._netlink.talk(_GETROUTE, REQUEST | DUMP, _body(message), "route dump"):
            # rtm_dst_len; decoding each route of a full table only to look at this would be slow.
            if data[17] == 0:
                route = _decode(rtmsg, data)
                if route.get("table") == _MAIN_TABLE and route["type"] == _RTN_UNICAST:
                    hops = [hop["oif"] for hop in route.get("multipath") or ()]
                    found.update(hops or [route.get("oif")])
        return {ifindex for ifindex in found if ifindex}

    def link(self, ifindex: int) -> Link | None:
        """The device, None if there is none of this index."""
        message = ifinfmsg()
        message["index"] = ifindex
        try:
            data = next(self._netlink.talk(_NEWLINK_GET, REQUEST, _body(message), f"link get {ifindex}"))
        except TargetError as error:
            if error.errno == errno.ENODEV or ifindex == 0:
                return None
            raise
        link = _decode(ifinfmsg, data)
        xdp = link.get("xdp")
        mode = xdp.get("IFLA_XDP_ATTACHED") if xdp else None
        return Link(
            name=link.get("ifname"),
            ifindex=ifindex,
            address=bytes.fromhex((link.get("address") or "").replace(":", "")),
            xdp_mode=_XDP_MODES.get(mode, mode) or 0,
            xdp_prog=(xdp.get("IFLA_XDP_PROG_ID") or 0) if xdp else 0,
        )

    def neighbours(self) -> Neighbours:
        """The neighbours that need nobody's care: those that :meth:`add_neighbour` made, and an operator's own."""
        ours: set[tuple[int, IPAddress]] = set()
        permanent: set[tuple[int, IPAddress]] = set()
        for data in self._netlink.talk(_GETNEIGH, REQUEST | DUMP, _body(ndmsg()), "neighbour dump"):
            neighbour = _decode(ndmsg, data)
            address = neighbour.get("dst")
            if address and neighbour.get("protocol") == NEIGHBOUR_PROTOCOL:
                ours.add((neighbour["ifindex"], ip_address(address)))
            elif address and neighbour["state"] & _NUD_PERMANENT:
                permanent.add((neighbour["ifindex"], ip_address(address)))
        return Neighbours(ours, permanent)

    def add_neighbour(self, ifindex: int, address: IPAddress) -> None:
        """Let the kernel resolve this neighbour and keep it resolved (NTF_EXT_MANAGED, kernel 5.16 and later).

        An entry that is there already keeps its state and address and becomes managed; a permanent one would no longer
        be permanent, so do not ask for that.
        """
        message = _neighbour(ifindex, address)
        message["flags"] = _NTF_EXT_LEARNED
        message["attrs"] += [["NDA_FLAGS_EXT", _NTF_EXT_MANAGED], ["NDA_PROTOCOL", NEIGHBOUR_PROTOCOL]]
        flags = REQUEST | ACK | CREATE | REPLACE
        list(self._netlink.talk(_NEWNEIGH, flags, _body(message), f"managed neighbour {address}"))

    def remove_neighbour(self, ifindex: int, address: IPAddress) -> None:
        """Remove; one that is not there, or whose device is gone, is no error."""
        try:
            list(
                self._netlink.talk(
                    _DELNEIGH, REQUEST | ACK, _body(_neighbour(ifindex, address)), f"remove neighbour {address}"
                )
            )
        except TargetError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise


_XDP_MODES = {None: 0, "xdp": 1, "xdpgeneric": 2, "xdpoffload": 3, "xdpmulti": 4}


def _body(message: Any) -> bytes:
    message.encode()
    return bytes(message.data[HEADER.size :])


def _decode(kind: Any, data: bytes) -> Any:
    message = kind(data)
    message.decode()
    return message


def _neighbour(ifindex: int, address: IPAddress) -> Any:
    message = ndmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["ifindex"] = ifindex
    message["attrs"] = [["NDA_DST", str(address)]]
    return message


def _decode_route(data: bytes, address: IPAddress) -> Route | None:
    """RTM_NEWROUTE: ``struct rtmsg`` of 12 bytes behind the header, then attributes."""
    kind = data[HEADER.size + 7]
    if kind not in (_RTN_UNICAST, _RTN_LOCAL):
        return None  # blackhole, unreachable, prohibit, multicast, broadcast
    ifindex, via, source = 0, address, None
    offset = HEADER.size + 12
    while offset + 4 <= len(data):
        length, attribute = struct.unpack_from("=HH", data, offset)
        value = data[offset + 4 : offset + length]
        if attribute == _RTA_OIF:
            ifindex = struct.unpack("=I", value)[0]
        elif attribute == _RTA_GATEWAY:
            via = ip_address(value)
        elif attribute == _RTA_VIA:
            via = ip_address(value[2:])
        elif attribute == _RTA_PREFSRC:
            source = ip_address(value)
        offset += (length + 3) & ~3
    return Route(ifindex, via, source, kind == _RTN_LOCAL)
