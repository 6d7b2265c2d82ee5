"""What the kernel says of links, routes and neighbours: rtnetlink over a plain socket.

The calls are made in place, from inside a running event loop too, which rules out pyroute2's IPRoute (it wants a loop
of its own); and reading by hand what is asked for every route, device and remote backend takes 12 microseconds for a
"route get" instead of 85. What then was left for pyroute2, one kind of message, was not worth a quarter of the time
that an agent takes to start.

The socket belongs to the network namespace in which it was opened.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from announcer.model.errors import TargetError
from announcer.model.net import IPAddress
from datapath.netlink import ACK, CREATE, DUMP, HEADER, REPLACE, REQUEST, Netlink, attribute, attributes
from datapath.parts import Parts, Prefix
from datapath.routes import RTM_F_FIB_MATCH, RTMSG, Hop, Reach, get_request, hops, note, prefix

_NEWLINK_GET, _GETROUTE, _NEWNEIGH, _DELNEIGH, _GETNEIGH, _GETRULE = 18, 26, 28, 29, 30, 34
_RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 4, 5, 7, 18
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_NTF_USE, _NTF_EXT_LEARNED, _NTF_EXT_MANAGED = 1 << 0, 1 << 4, 1 << 0
_NUD_PERMANENT = 0x80
_NDMSG = struct.Struct("=BBHiHBB")
_NDA_DST, _NDA_PROTOCOL, _NDA_FLAGS_EXT = 1, 12, 15
_IFINFOMSG = struct.Struct("=BxHiII")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_EXT_MASK, _IFLA_XDP = 1, 3, 18, 29, 43
_IFLA_LINK, _IFLA_MASTER, _IFLA_LINK_NETNSID = 5, 10, 37
_IFLA_INFO_DATA, _IFLA_VLAN_ID, _IFLA_VLAN_PROTOCOL = 2, 1, 5
_IFLA_XDP_ATTACHED, _IFLA_XDP_PROG_ID, _IFLA_INFO_KIND, _IFLA_INFO_SLAVE_KIND = 2, 4, 1, 4
_SKIP_STATS = struct.pack("=I", 1 << 3)  # RTEXT_FILTER_SKIP_STATS
_ARPHRD_ETHER = 1
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})

#: NDA_PROTOCOL of the neighbours that are ours: the kernel keeps and returns it but gives it no meaning.
NEIGHBOUR_PROTOCOL = 76
_OURS = attribute(_NDA_PROTOCOL, bytes([NEIGHBOUR_PROTOCOL]))


class Route(NamedTuple):
    """The kernel's way to an address. ``via``: the next hop, the address itself if it is on the link."""

    ifindex: int
    via: IPAddress
    source: IPAddress | None
    local: bool


class Link(NamedTuple):
    """A network device. ``xdp_mode`` of program ``xdp_prog``: 0 none, 1 native, 2 generic, 3 hardware, 4 several.

    ``kind``: of a virtual device (IFLA_INFO_KIND), empty for a card; ``port_of``: the kind of the device above it.
    """

    name: str
    ifindex: int
    address: bytes
    xdp_mode: int
    xdp_prog: int
    kind: str = ""
    port_of: str = ""
    ethernet: bool = True

    @property
    def native(self) -> bool:
        """True if its program runs in the driver."""
        return self.xdp_mode == 1


class Vlan(NamedTuple):
    """A VLAN device. ``below``: ifindex of the device that carries its frames; ``kind``: ETH_P_8021Q or ETH_P_8021AD.

    ``port_of``: the kind of the device above it.
    """

    ifindex: int
    below: int
    number: int
    kind: int
    port_of: str = ""


class Neighbours(NamedTuple):
    """``ours``: made by us and managed by the kernel. ``unmanaged``: made by us, of an earlier version or by a kernel
    that cannot manage. ``others``: an operator configured their link-layer address, or another component sees to them.
    """

    ours: set[Hop]
    unmanaged: set[Hop]
    others: set[Hop]


class Rtnl:
    """One rtnetlink socket."""

    def __init__(self) -> None:
        self._netlink = Netlink(socket.NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def route(self, address: IPAddress) -> Route | None:
        """``ip route get``; None if there is no route."""
        body = get_request(address)
        try:
            reply = next(self._netlink.talk(_GETROUTE, REQUEST, body, f"route get {address}"))
        except TargetError as error:
            if error.errno in _NO_ROUTE:
                return None
            raise
        return _decode_route(reply, address)

    def hops(self, address: IPAddress) -> frozenset[Hop]:
        """All next hops of the route to ``address`` (``ip route get fibmatch``); none if there is no route."""
        body = get_request(address, RTM_F_FIB_MATCH)
        try:
            return hops(next(self._netlink.talk(_GETROUTE, REQUEST, body, f"route get {address}")), address)
        except TargetError as error:
            if error.errno in _NO_ROUTE:
                return frozenset()
            raise

    def reach(self) -> Reach:
        """Which devices lead anywhere, by the routes of all tables and both families."""
        found = Reach(set(), set())
        for family in (socket.AF_INET, socket.AF_INET6):
            body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            for data in self._netlink.talk(_GETROUTE, REQUEST | DUMP, body, "route dump"):
                note(data, found)
        return found

    def parts(self) -> Parts:
        """Which addresses the routes of all tables and the rules tell apart."""
        found: list[Prefix | None] = []
        for family, kind in itertools.product((socket.AF_INET, socket.AF_INET6), (_GETROUTE, _GETRULE)):
            body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            try:
                found += map(prefix, self._netlink.talk(kind, REQUEST | DUMP, body, "dump of routes and rules"))
            except TargetError as error:
                if kind == _GETROUTE or error.errno not in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                    raise  # else: a kernel without rules
        return Parts(each for each in found if each is not None)

    def link(self, ifindex: int) -> Link | None:
        """The device, None if there is none of this index."""
        body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0) + attribute(_IFLA_EXT_MASK, _SKIP_STATS)
        try:
            data = next(self._netlink.talk(_NEWLINK_GET, REQUEST, body, f"link get {ifindex}"))
        except TargetError as error:
            if error.errno == errno.ENODEV or ifindex == 0:
                return None
            raise
        found = attributes(data, HEADER.size + _IFINFOMSG.size)
        xdp, info = attributes(found.get(_IFLA_XDP, b"")), attributes(found.get(_IFLA_LINKINFO, b""))
        mode = xdp.get(_IFLA_XDP_ATTACHED, b"\0")[0]
        return Link(
            name=_text(found.get(_IFLA_IFNAME, b"")),
            ifindex=ifindex,
            address=found.get(_IFLA_ADDRESS, b""),
            xdp_mode=mode,
            xdp_prog=int.from_bytes(xdp.get(_IFLA_XDP_PROG_ID, b""), sys.byteorder),
            kind=_text(info.get(_IFLA_INFO_KIND, b"")),
            port_of=_text(info.get(_IFLA_INFO_SLAVE_KIND, b"")),
            ethernet=_IFINFOMSG.unpack_from(data, HEADER.size)[1] == _ARPHRD_ETHER,
        )

    def vlans(self) -> list[Vlan]:
        """All VLAN devices whose device below is in this network namespace."""
        found = []
        for ifindex, link, info in self._links(attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"vlan"))):
            data = attributes(info.get(_IFLA_INFO_DATA, b""))
            if _text(info.get(_IFLA_INFO_KIND, b"")) == "vlan" and _IFLA_LINK_NETNSID not in link:
                found.append(
                    Vlan(
                        ifindex,
                        below=int.from_bytes(link.get(_IFLA_LINK, b""), sys.byteorder),
                        number=int.from_bytes(data.get(_IFLA_VLAN_ID, b""), sys.byteorder),
                        kind=int.from_bytes(data.get(_IFLA_VLAN_PROTOCOL, b""), "big"),
                        port_of=_text(info.get(_IFLA_INFO_SLAVE_KIND, b"")),
                    )
                )
        return found

    def bond_ports(self) -> dict[int, int]:
        """The ports of all bonds, and the bond of each."""
        found = {}
        bonds = list(self._links(attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"bond"))))
        for bond, _, info in bonds:
            if _text(info.get(_IFLA_INFO_KIND, b"")) == "bond":
                for port, link, _ in self._links(attribute(_IFLA_MASTER, struct.pack("=I", bond))):
                    if int.from_bytes(link.get(_IFLA_MASTER, b""), sys.byteorder) == bond:
                        found[port] = bond
        return found

    def _links(self, only: bytes) -> Iterator[tuple[int, dict[int, bytes], dict[int, bytes]]]:
        """Index, attributes and IFLA_LINKINFO of the devices that match ``only``.

        The kernel leaves out what does not; but one that does not know the kind of device leaves out nothing.
        """
        body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, _SKIP_STATS) + only
        for data in self._netlink.talk(_NEWLINK_GET, REQUEST | DUMP, body, "link dump"):
            link = attributes(data, HEADER.size + _IFINFOMSG.size)
            yield _IFINFOMSG.unpack_from(data, HEADER.size)[2], link, attributes(link.get(_IFLA_LINKINFO, b""))

    def neighbours(self) -> Neighbours:
        """The neighbours that somebody looks after."""
        found = Neighbours(set(), set(), set())
        for data in self._netlink.talk(_GETNEIGH, REQUEST | DUMP, bytes(_NDMSG.size), "neighbour dump"):
            _note_neighbour(data, found)
        return found

    def is_managed(self, ifindex: int, address: IPAddress) -> bool:
        """Whether the kernel keeps this neighbour resolved. One from before 5.16 takes the wish and forgets it."""
        found = Neighbours(set(), set(), set())
        body = _neighbour(ifindex, address)
        for data in self._netlink.talk(_GETNEIGH, REQUEST, body, f"neighbour get {address}"):
            _note_neighbour(data, found)
        return bool(found.ours)

    def nudge_neighbour(self, ifindex: int, address: IPAddress) -> None:
        """Let the kernel resolve this neighbour now, as if a packet were sent to it (NTF_USE), and mark it as ours."""
        body = _neighbour(ifindex, address, _NTF_EXT_LEARNED | _NTF_USE) + _OURS
        list(self._netlink.talk(_NEWNEIGH, REQUEST | ACK | CREATE, body, f"nudge neighbour {address}"))

    def add_neighbour(self, ifindex: int, address: IPAddress) -> None:
        """Let the kernel resolve this neighbour and keep it resolved (NTF_EXT_MANAGED, kernel 5.16 and later).

        An entry that is there already keeps its state and address and becomes managed; a permanent one would no longer
        be permanent, so do not ask for that.
        """
        managed = attribute(_NDA_FLAGS_EXT, struct.pack("=I", _NTF_EXT_MANAGED))
        body = _neighbour(ifindex, address, _NTF_EXT_LEARNED) + managed + _OURS
        list(self._netlink.talk(_NEWNEIGH, REQUEST | ACK | CREATE | REPLACE, body, f"managed neighbour {address}"))

    def remove_neighbour(self, ifindex: int, address: IPAddress) -> None:
        """Remove; one that is not there, or whose device is gone, is no error."""
        try:
            body = _neighbour(ifindex, address)
            list(self._netlink.talk(_DELNEIGH, REQUEST | ACK, body, f"remove neighbour {address}"))
        except TargetError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise


def _note_neighbour(data: bytes, found: Neighbours) -> None:
    """Sort one ``struct ndmsg`` into what somebody looks after.

    An externally learned entry without a protocol and without management was left by a component that is gone or by a
    kernel that could not: nobody's any more.
    """
    _, _, _, ifindex, state, flags, _ = _NDMSG.unpack_from(data, HEADER.size)
    values = attributes(data, HEADER.size + _NDMSG.size)
    address = values.get(_NDA_DST, b"")
    if len(address) not in (4, 16):
        return  # an entry of a bridge's forwarding table
    hop = (ifindex, ip_address(address))
    protocol = values.get(_NDA_PROTOCOL, b"\0")[0]
    managed = bool(int.from_bytes(values.get(_NDA_FLAGS_EXT, b""), sys.byteorder) & _NTF_EXT_MANAGED)
    if protocol == NEIGHBOUR_PROTOCOL:
        (found.ours if managed and not state & _NUD_PERMANENT else found.unmanaged).add(hop)
    elif state & _NUD_PERMANENT or (flags & _NTF_EXT_LEARNED and (managed or protocol)):
        found.others.add(hop)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _neighbour(ifindex: int, address: IPAddress, flags: int = 0) -> bytes:
    """``struct ndmsg`` and the address; other attributes may follow."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _NDMSG.pack(family, 0, 0, ifindex, 0, flags, 0) + attribute(_NDA_DST, address.packed)


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
