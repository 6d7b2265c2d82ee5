"""What the kernel tells unasked: that a device, an address, a route or a rule has changed.

Everything that follows from routes and devices may be remembered for as long as nothing was told: the kernel queues a
notice before the change is answered for, so whoever looks here first and then at what he remembers is never late.
"""

from __future__ import annotations

import errno
import select
import socket
import struct

from datapath.netlink import HEADER
from datapath.routes import RTM_F_CLONED, RTMSG

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
#: RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE (linux/rtnetlink.h).
_GROUPS = (1, 5, 7, 8, 9, 11, 19)
_NEWROUTE, _DELROUTE = 24, 25


class Notices:
    """One subscribed rtnetlink socket of the present network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, struct.pack("=I", group))
        self._generation = 0
        # Asked for thousands of times a second: to make room each time would cost more than to ask, and so does the
        # error that says that there is nothing to read.
        self._waiting = select.poll()
        self._waiting.register(self._socket, select.POLLIN)
        self._room = memoryview(bytearray(1 << 17))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """For whoever wants to wait for news."""
        return self._socket.fileno()

    def generation(self) -> int:
        """A number that grows whenever something was told since it was last asked for."""
        news = False
        while self._waiting.poll(0):
            try:
                data = self._room[: self._socket.recv_into(self._room)].tobytes()
            except BlockingIOError:
                break
            except OSError as error:
                # So much was told that some of it is lost: anything may have changed.
                if error.errno != errno.ENOBUFS:
                    raise
                news = True
                continue
            news = news or _says_something(data)
        self._generation += news
        return self._generation


def _says_something(data: bytes) -> bool:
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return False
        if kind not in (_NEWROUTE, _DELROUTE):
            return True
        flags = RTMSG.unpack_from(data, offset + HEADER.size)[8]
        if not flags & RTM_F_CLONED:
            return True
        offset += (length + 3) & ~3
    return False
