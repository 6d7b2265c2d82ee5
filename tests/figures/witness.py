"""A process at the router that puts every route to the test the moment it appears. Standard library only::

    witness.py --network 203.0.113.0/24 --port 53 --every 0.25

It hears from the kernel (rtnetlink(7)) of every change of a host route inside the network and sends a datagram along
it at once, and then again and again as long as it stands. So a route that comes before its datapath, or outlives it,
is found out by a datagram without an answer. At the end of standard input it waits for what is late and prints one
line of JSON: see :class:`Told`.
"""

from __future__ import annotations

import argparse
import ipaddress
import itertools
import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Generous: a machine under load is slow, but it loses nothing.
LATE_SECONDS = 3.0
SOCKETS = 64
_RTMGRP_IPV4_ROUTE = 0x40
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RT_TABLE_MAIN = 254
_RTA_DST = 1
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; unlike SO_RCVBUF it is not bound by net.core.rmem_max
_HEAR_BYTES = 1 << 24


@dataclass
class Told:
    """``changes`` of routes were heard; ``sent`` datagrams, ``at_once`` of them because of a change; ``lost`` of them.

    ``dark_ms``: for how long VIPs had a route and no answer, all added up: from each first datagram that was lost to
    the next that was answered, or to the end of the route.
    """

    changes: int = 0
    sent: int = 0
    at_once: int = 0
    lost: int = 0
    dark_ms: float = 0.0


@dataclass
class Stand:
    """A route as long as it stands: its datagrams by number, and which of them were answered."""

    vip: str
    due: float
    sent: dict[int, float] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    gone: float | None = None

    def dark(self) -> tuple[int, float]:
        """Datagrams lost, and seconds without an answer."""
        lost, seconds = 0, 0.0
        since: float | None = None
        for number, at in self.sent.items():
            if number in self.answered:
                seconds += at - since if since is not None else 0.0
                since = None
            else:
                lost += 1
                since = at if since is None else since
        if since is not None:
            seconds += (self.gone or time.monotonic()) - since
        return lost, seconds


class Witness:
    """Hears, sends, listens."""

    def __init__(self, network: ipaddress.IPv4Network, port: int, every: float) -> None:
        self.told = Told()
        self._network, self._port, self._every = network, port, every
        self._standing: dict[str, Stand] = {}
        self._over: list[Stand] = []
        self._waiting: dict[int, Stand] = {}
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._routes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._routes.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _HEAR_BYTES)
        self._routes.bind((0, _RTMGRP_IPV4_ROUTE))
        self._senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
        for one in (self._routes, *self._senders):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def run(self) -> Told:
        """Until standard input ends, and a little longer."""
        print("watching", flush=True)
        now, end = 0.0, float("inf")
        # Once more after the end: what came in time is not late because this process is.
        while now < end:
            now = time.monotonic()
            for key, _ in self._selector.select(0.01):
                if key.fileobj is sys.stdin:
                    self._selector.unregister(sys.stdin)
                    end = time.monotonic() + LATE_SECONDS
                elif key.fileobj is self._routes:
                    self._hear()
                else:
                    self._listen(key.fileobj)  # type: ignore[arg-type]
            if end == float("inf"):
                self._remind()
        for stand in (*self._over, *self._standing.values()):
            lost, seconds = stand.dark()
            self.told.lost += lost
            self.told.dark_ms += 1000 * seconds
        return self.told

    def _hear(self) -> None:
        try:
            data = self._routes.recv(1 << 20)  # ENOBUFS, if we were too slow, ends the run: a witness must not miss any
        except BlockingIOError:
            return
        for kind, address in _changes(data):
            if ipaddress.IPv4Address(address) not in self._network:
                continue
            self.told.changes += 1
            if kind == _RTM_DELROUTE:
                if stand := self._standing.pop(address, None):
                    stand.gone = time.monotonic()
                    self._over.append(stand)
                continue
            stand = self._standing.setdefault(address, Stand(address, 0.0))
            self.told.at_once += 1
            self._send(stand)

    def _remind(self) -> None:
        now = time.monotonic()
        for stand in [stand for stand in self._standing.values() if stand.due <= now]:
            self._send(stand)

    def _send(self, stand: Stand) -> None:
        number = next(self._numbers)
        stand.due = time.monotonic() + self._every
        try:
            self._senders[number % SOCKETS].sendto(b"%d" % number, (stand.vip, self._port))
        except OSError:
            return  # the route went away before this line: nothing was sent
        stand.sent[number] = time.monotonic()
        self._waiting[number] = stand
        self.told.sent += 1

    def _listen(self, one: socket.socket) -> None:
        try:
            _, _, echo = one.recv(2048).partition(b" ")
        except OSError:
            return  # an ICMP error: whatever was sent stays unanswered
        stand = self._waiting.pop(int(echo), None)
        if stand is not None:
            stand.answered.add(int(echo))


def _changes(data: bytes) -> Iterator[tuple[int, str]]:
    """(RTM_NEWROUTE or RTM_DELROUTE, address) of the host routes of the main table in one read of the socket."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        _, bits, _, _, table, *_ = _ROUTE.unpack_from(data, offset + _HEADER.size)
        if kind in (_RTM_NEWROUTE, _RTM_DELROUTE) and bits == 32 and table == _RT_TABLE_MAIN:
            destination = _attribute(data[offset + _HEADER.size + _ROUTE.size : offset + length], _RTA_DST)
            yield kind, socket.inet_ntoa(destination)
        offset += -(-length // 4) * 4


def _attribute(data: bytes, wanted: int) -> bytes:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if kind == wanted:
            return data[offset + _ATTRIBUTE.size : offset + length]
        offset += -(-length // 4) * 4
    raise ValueError(f"a route without attribute {wanted}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Puts every route to the test the moment it appears.")
    parser.add_argument("--network", type=ipaddress.IPv4Network, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--every", type=float, required=True, help="seconds between datagrams while a route stands")
    arguments = parser.parse_args()
    print(json.dumps(Witness(arguments.network, arguments.port, arguments.every).run().__dict__), flush=True)


if __name__ == "__main__":
    main()
