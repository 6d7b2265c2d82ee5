"""The oracle: a process at the router that knows nothing of Lockstep and sees whether its promises hold.

Standard library only, run by its path inside the router's network namespace::

    oracle.py --vip 203.0.113.10 --vip 2001:db8:f::10 --port 53 --allowed 203.0.113.0/24 --allowed 2001:db8:f::/64

Both families. Every 20 ms it looks at the kernel's routes, as a packet would find them, and sends a datagram from a new
port to every VIP that has a route; in between, datagrams of a number of flows that keep their ports. The servers answer
with their name and the datagram. At the end of standard input it prints what it saw as one line of JSON.

What is called lost was sent while the router had a route: then I1 of the promise says that it is answered.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

LOOK_SECONDS = 0.02
#: A datagram without an answer for so long is lost. Generous: a machine under load is slow, but it loses nothing.
LOST_SECONDS = 3.0
#: At most so much of it passes from one turn to the next: a machine that stands still for some seconds answers nothing
#: meanwhile.
TURN_SECONDS = 0.1
SESSIONS_EVERY = 10
FLOWS = 32
BGP_PORT = 179
_ESTABLISHED = "01"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass
class Seen:
    """Everything that is reported. Times are Unix times in seconds."""

    looks: int = 0
    sent: int = 0
    answered: int = 0
    lost: list[dict[str, object]] = field(default_factory=list)
    moved: list[dict[str, object]] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    without_route: int = 0
    first_without_route: float | None = None
    routes: list[dict[str, object]] = field(default_factory=list)
    session_changes: int = 0


class Flow:
    """A socket that sends to one VIP. One that ``keeps`` its port must always be answered by the same server."""

    def __init__(self, target: tuple[str, int], *, keeps: bool) -> None:
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(target)
        self.vip = target[0]
        self.keeps = keeps
        self.server = ""
        self.waiting: dict[bytes, float] = {}


class Oracle:
    """Looks, sends, listens."""

    def __init__(self, vips: list[str], port: int, allowed: list[str]) -> None:
        self.seen = Seen()
        self._vips = vips
        self._port = port
        self._allowed = [ipaddress.ip_network(text) for text in allowed]
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._kept: list[Flow] = []
        self._probes: dict[int, Flow] = {}
        self._number = 0
        self._turned = time.monotonic()
        self._now = 0.0
        self._known: dict[str, bool] = {}
        self._sessions = frozenset[str]()

    def run(self) -> None:
        """Until standard input ends, then until the last answer is in or late. A line asks what was seen so far."""
        print("looking", flush=True)
        due = time.monotonic()
        stopping = False
        while not stopping or self._open():
            if not stopping and time.monotonic() >= due:
                due += LOOK_SECONDS
                self._look()
            wait = LOOK_SECONDS if stopping else max(0.0, due - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.fileobj is sys.stdin and os.read(key.fd, 1):
                    self._tell()
                elif key.fileobj is sys.stdin:
                    stopping = True
                    self._selector.unregister(sys.stdin)
                else:
                    self._hear(key.data)
            self._turn()
            self._give_up()
        self._tell()

    def _turn(self) -> None:
        """Let the time pass by which answers are late."""
        before, self._turned = self._turned, time.monotonic()
        self._now += min(self._turned - before, TURN_SECONDS)

    def _tell(self) -> None:
        print(json.dumps(self.seen.__dict__), flush=True)

    def _look(self) -> None:
        self.seen.looks += 1
        table = _table()
        for prefix in sorted(table, key=str):
            if not any(_inside(prefix, allowed) for allowed in self._allowed) and str(prefix) not in self.seen.foreign:
                self.seen.foreign.append(str(prefix))
        missing = False
        for vip in self._vips:
            reachable = any(ipaddress.ip_address(vip) in prefix for prefix in table)
            missing |= not reachable
            if self._known.get(vip) is not reachable:
                self._known[vip] = reachable
                self.seen.routes.append({"t": time.time(), "vip": vip, "route": reachable})
            if reachable:
                self._send(vip)
        if missing:
            self.seen.without_route += 1
            self.seen.first_without_route = self.seen.first_without_route or time.time()
        if self.seen.looks % SESSIONS_EVERY == 1:
            self._look_at_sessions()

    def _send(self, vip: str) -> None:
        try:
            probe = Flow((vip, self._port), keeps=False)
            self._watch(probe)
            self._probes[probe.socket.fileno()] = probe
            self._give(probe)
            self._give(self._next_kept(vip))
        except OSError:
            return  # the route went away between the look and this line

    def _next_kept(self, vip: str) -> Flow:
        flows = [flow for flow in self._kept if flow.vip == vip]
        if len(flows) < FLOWS:
            flow = Flow((vip, self._port), keeps=True)
            self._watch(flow)
            self._kept.append(flow)
            return flow
        return flows[self.seen.looks % FLOWS]

    def _watch(self, flow: Flow) -> None:
        self._selector.register(flow.socket, selectors.EVENT_READ, flow)

    def _give(self, flow: Flow) -> None:
        self._number += 1
        data = b"%d" % self._number
        flow.socket.send(data)
        flow.waiting[data] = self._now
        self.seen.sent += 1

    def _hear(self, flow: Flow) -> None:
        try:
            answer = flow.socket.recv(2048)
        except OSError:
            return  # an ICMP error: whatever was sent stays unanswered
        server, _, echo = answer.partition(b" ")
        if flow.waiting.pop(echo, None) is None:
            return
        self.seen.answered += 1
        name = server.decode("ascii", "replace")
        if flow.keeps and flow.server and name != flow.server:
            self.seen.moved.append({"t": time.time(), "vip": flow.vip, "was": flow.server, "is": name})
        flow.server = name
        if not flow.keeps:
            self._forget(flow)

    def _give_up(self) -> None:
        late = self._now - LOST_SECONDS
        for flow in [*self._kept, *self._probes.values()]:
            for data in [data for data, sent in flow.waiting.items() if sent < late]:
                ago = self._now - flow.waiting.pop(data)
                self.seen.lost.append({"t": time.time() - ago, "vip": flow.vip, "kept": flow.keeps})
                if not flow.keeps:
                    self._forget(flow)

    def _forget(self, flow: Flow) -> None:
        self._selector.unregister(flow.socket)
        self._probes.pop(flow.socket.fileno(), None)
        flow.socket.close()

    def _open(self) -> bool:
        return any(flow.waiting for flow in [*self._kept, *self._probes.values()])

    def _look_at_sessions(self) -> None:
        now = _sessions()
        if self.seen.looks > 1 and now != self._sessions:
            self.seen.session_changes += 1
        self._sessions = now


def _inside(prefix: Network, allowed: Network) -> bool:
    return prefix.network_address in allowed and prefix.prefixlen >= allowed.prefixlen


def _table() -> set[Network]:
    """Prefixes that a routing protocol has put into the main table: those with a next hop."""
    found: set[Network] = set()
    with open("/proc/self/net/route", encoding="ascii") as lines:
        for line in list(lines)[1:]:
            fields = line.split()
            destination, gateway, mask = (int(fields[column], 16) for column in (1, 2, 7))
            if gateway and mask:
                found.add(ipaddress.IPv4Network((_swapped(destination), _swapped(mask).bit_count())))
    with open("/proc/self/net/ipv6_route", encoding="ascii") as lines:
        for line in lines:
            text, length, _, _, gateway6, *_ = line.split()
            if int(gateway6, 16) and int(length, 16):
                found.add(ipaddress.IPv6Network((int(text, 16), int(length, 16))))
    return found


def _swapped(number: int) -> int:
    """The kernel prints addresses in the byte order of the host."""
    return int.from_bytes(number.to_bytes(4, sys.byteorder), "big")


def _sessions() -> frozenset[str]:
    """The remote ends of established BGP sessions."""
    rows = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{table}", encoding="ascii") as lines:
            rows += [line.split() for line in list(lines)[1:]]
    own = f":{BGP_PORT:04X}"
    return frozenset(row[2] for row in rows if row[1].endswith(own) and row[3] == _ESTABLISHED)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Watch a router and the VIPs behind it.")
    parser.add_argument("--vip", action="append", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--allowed", action="append", required=True)
    arguments = parser.parse_args()
    Oracle(arguments.vip, arguments.port, arguments.allowed).run()


if __name__ == "__main__":
    main()
