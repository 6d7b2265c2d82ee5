"""The addresses of this network namespace's interfaces, asked of the kernel through rtnetlink(7).

Own code rather than pyroute2's, whose synchronous calls do not work inside a running event loop: one dump, answered by
the kernel in the same system call. Structures: ``linux/if_addr.h``, ``linux/rtnetlink.h``.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import msgspec

from announcer.model.errors import TargetError
from announcer.model.net import Family, IPAddress

_RTM_GETADDR = 22
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_SCOPE_UNIVERSE = 0
#: IFA_F_TEMPORARY (of IPv6; IFA_F_SECONDARY of IPv4), DADFAILED, DEPRECATED, TENTATIVE: not to be given to routers.
_UNFIT = 0x01 | 0x08 | 0x20 | 0x40

_NLMSGHDR = struct.Struct("=IHHII")
# struct ifaddrmsg: family, prefix length, flags, scope, interface.
_IFADDRMSG = struct.Struct("=BBBBI")
_RTATTR = struct.Struct("=HH")


class InterfaceAddress(msgspec.Struct, frozen=True):
    """One address. ``fit``: global, not temporary or deprecated, and known to be unique: routers may be told of it."""

    interface: int
    address: IPAddress
    length: int
    fit: bool


def sibling(local: IPAddress, family: Family) -> IPAddress | None:
    """The address of ``family`` on the interface that has ``local``; None if it has none that is fit to be told.

    Of several the same one is chosen every time: one of a subnet rather than one that stands alone (a VIP may be bound
    to the interface), then the lowest. None as well if the kernel does not say.
    """
    try:
        known = list(interface_addresses())
    except (OSError, TargetError):
        return None
    interfaces = {entry.interface for entry in known if entry.address == local}
    found = [
        entry for entry in known if entry.interface in interfaces and entry.fit and Family.of(entry.address) is family
    ]
    best = min(found, key=lambda entry: (entry.length == entry.address.max_prefixlen, entry.address), default=None)
    return best.address if best else None


def on_link(local: IPAddress, peer: IPAddress) -> bool:
    """True if the interface with ``local`` reaches ``peer`` without a gateway, as far as its prefixes say."""
    try:
        return any(
            entry.address == local and peer in ip_network((local, entry.length), strict=False)
            for entry in interface_addresses()
        )
    except (OSError, TargetError):
        return True


def bind_error(address: IPAddress, port: int = 0) -> int:
    """What keeps this process from having a TCP socket at ``address`` and ``port`` (0: any): an errno, 0 if nothing.

    The kernel is asked by bind(2), as it will be for the connection: no interface need have the address (a local route
    is enough), and one that has it may not have verified yet that it is unique (IPv6). A port is taken if somebody
    listens there; a connection that has ended does not count.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), port))
        except OSError as error:
            return error.errno or 0
    return 0


def any_ipv4() -> IPAddress | None:
    """The lowest IPv4 address of this node that routers may be told of, None if there is none."""
    found = [entry.address for entry in interface_addresses() if entry.fit and entry.address.version == 4]
    return min((address for address in found if not address.is_loopback), default=None)


def interface_addresses() -> Iterator[InterfaceAddress]:
    """All of them. Raises OSError or TargetError if the kernel refuses the question."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(1.0)
        body = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        netlink.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), _RTM_GETADDR, flags, 0, 0) + body)
        while True:
            datagram = netlink.recv(1 << 16)
            at = 0
            while at + _NLMSGHDR.size <= len(datagram):
                length, kind, _, _, _ = _NLMSGHDR.unpack_from(datagram, at)
                message = datagram[at + _NLMSGHDR.size : at + length]
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise TargetError("list the addresses of this node", errno=-struct.unpack_from("=i", message)[0])
                if found := _entry(message):
                    yield found
                at += (length + 3) & ~3


def _entry(message: bytes) -> InterfaceAddress | None:
    _, length, flags, scope, interface = _IFADDRMSG.unpack_from(message)
    values: dict[int, bytes] = {}
    at = _IFADDRMSG.size
    while at + _RTATTR.size <= len(message):
        size, kind = _RTATTR.unpack_from(message, at)
        values[kind] = message[at + _RTATTR.size : at + size]
        at += max((size + 3) & ~3, _RTATTR.size)
    # On a point-to-point link IFA_ADDRESS is the other end.
    packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
    if not packed:
        return None
    if _IFA_FLAGS in values:
        flags = int.from_bytes(values[_IFA_FLAGS], sys.byteorder)
    fit = scope == _SCOPE_UNIVERSE and not flags & _UNFIT
    return InterfaceAddress(interface, ip_address(packed), length, fit)
