"""Packets that are really forwarded from one network namespace to another, by the datapath and by the kernel.

The router sends packets to the node and counts what comes back for the backends. Each way of forwarding has a router
and a node of its own. Everything runs on one CPU: who sends, the node, and who counts; so what sending and counting
cost is in every figure, and makes all ratios smaller than they are. How much that is, a node shows that does nothing
but send back what comes (``bounce``): no forwarder can be faster in this laboratory.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from announcer.model.net import IPAddress
from datapath import shim
from datapath.maps import StatsMap
from tests.bench import rules
from tests.bench.packets import IPV4, LIMITS, PORT, Case, program
from tests.bench.report import Row, speed
from tests.bench.testrun import send
from tests.bench.under_test import Scenes, compiled
from tests.datapath.netns import Names, entered, run, sweep
from tests.datapath.node import Node, eventually

ROUNDS = 5
PACKETS = 200_000
FLOWS = (1, 1 << 16)
#: What of the packets has to arrive for a figure to mean something.
_ARRIVED = 0.999
_BACKENDS = [f"{backend.address}:{backend.port}" for backend in IPV4.remote[:2]]


class Way:
    """A router and a node, and packets from the one through the other."""

    def __init__(self, obj: Path, to: IPAddress) -> None:
        """``to``: where packets go, the address of the first service or of a backend."""
        self._names = Names()
        self.node = Node(self._names)
        self._to = to
        self._object = shim.open_object(obj)
        shim.load(self._object)
        self._scenes = Scenes(self._object)
        self._generate = shim.prog_fd(self._object, "generate")
        self._arrived = StatsMap("arrived", shim.map_fd(self._object, "arrived"))
        settings = [f"net.ipv4.conf.{name}.send_redirects=0" for name in ("all", "default", "eth0")]
        run("sysctl", "-qw", *settings, netns=self.node.netns)
        with entered(self.node.router):
            self._ifindex = socket.if_nametoindex("e0")
            self._links = [shim.attach_xdp(shim.prog_fd(self._object, "sink"), self._ifindex, generic=False)]
        with entered(self.node.netns):
            self._target = self.node.link().address
        # Frames of native XDP reach a veth only if it polls (NAPI): with a program of its own, or with GRO.
        run("ethtool", "-K", "eth0", "gro", "on", netns=self.node.netns)

    def arrived(self) -> int:
        """Packets for backends that came back so far."""
        return self._arrived.read()[0]

    def seconds(self, *, flows: int, services: int, packets: int, within: float = 5.0) -> float:
        """How long until all packets have come back. Raises ``AssertionError`` if some do not ``within`` seconds."""
        case = Case(name="", family=IPV4, to=self._to, port=PORT, verdict=0)
        frame = case.frame(self._target)
        self._scenes.put(frame, flows=flows, services=services)
        before, began = self.arrived(), time.perf_counter()
        with entered(self.node.router):
            send(self._generate, self._ifindex, frame, packets)
        while (came := self.arrived() - before) < packets * _ARRIVED:
            assert time.perf_counter() - began < within, f"{came} of {packets} packets came back"
        return time.perf_counter() - began

    def bounce(self) -> None:
        """Have the node send back whatever comes, and do nothing else. Called in its network namespace."""
        program = shim.prog_fd(self._object, "bounce")
        self._links.append(shim.attach_xdp(program, self.node.link().ifindex, generic=False))

    def close(self) -> None:
        """Remove all of it."""
        self.node.close()
        self._arrived.close()
        for link in self._links:
            os.close(link)
        shim.close_object(self._object)
        self._names.remove()


@contextlib.contextmanager
def _on_one_cpu() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


Make = Callable[[Way, int], None]


def _plain(_way: Way, _services: int) -> None:
    """The kernel forwards as it does without any of this."""


def _ours(way: Way, services: int) -> None:
    datapath = way.node.attached(LIMITS)
    program(datapath, range(services))


def _bounce(way: Way, _services: int) -> None:
    way.bounce()


def _iptables(way: Way, services: int) -> None:
    _track(way)
    text = rules.iptables(_vips(services), PORT, _BACKENDS)
    run("iptables-legacy-restore", netns=way.node.netns, stdin=text)


def _nftables(way: Way, services: int) -> None:
    _track(way)
    run("nft", "-f", "-", netns=way.node.netns, stdin=rules.nftables(_vips(services), PORT, _BACKENDS))


def _track(way: Way) -> None:
    """The frames differ in their ports and not in their checksum; to the kernel's own forwarding that is the same."""
    run("sysctl", "-qw", "net.netfilter.nf_conntrack_checksum=0", netns=way.node.netns)


def _vips(services: int) -> list[IPAddress]:
    return [IPV4.vip + number for number in range(services)]


WAYS: dict[str, Make] = {
    "dsr": _ours,
    "bounce": _bounce,
    "plain": _plain,
    "nftables": _nftables,
    "iptables": _iptables,
}
#: These get packets that are for a backend already.
_TO_BACKEND = ("bounce", "plain")
TARGETS = {"plain": 2.4, "nftables": 6.0, "iptables": 6.0}


def bench(folder: Path, services: Sequence[int] = (1, 1_000, 10_000)) -> list[Row]:
    """How many times as fast as the kernel's ways ours is, for each number of services. Needs root."""
    sweep()
    obj = compiled("traffic.bpf.c", folder)
    return [row for count in services for row in _compare(obj, count)]


def _compare(obj: Path, services: int) -> Iterator[Row]:
    ways: dict[str, Way] = {}
    try:
        for name, make in WAYS.items():
            ways[name] = Way(obj, IPV4.remote[0].address if name in _TO_BACKEND else IPV4.vip)
            with entered(ways[name].node.netns):
                make(ways[name], services)
            eventually(lambda way=ways[name]: _comes_back(way), f"{name}: packets come back")  # type: ignore[misc]
        with _on_one_cpu():
            for flows in FLOWS:
                if flows >= services:
                    yield from _rows(ways, flows, services)
    finally:
        for way in ways.values():
            way.close()


def _comes_back(way: Way) -> bool:
    """The next hop is known, and whatever else takes a moment after everything was set."""
    try:
        return way.seconds(flows=1, services=0, packets=64, within=0.2) > 0
    except AssertionError:
        return False


def _rows(ways: dict[str, Way], flows: int, services: int) -> Iterator[Row]:
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, ROUNDS):  # the first fills caches and tables, and is not counted
        for name, way in ways.items():
            spread = services if services > 1 and name not in _TO_BACKEND else 0
            seconds = way.seconds(flows=flows, services=spread, packets=PACKETS)
            if number >= 0:
                samples[name].append(seconds / PACKETS * 1e9)
    suffix = f"ipv4/{flows}-flow{'s' if flows > 1 else ''}" + (f"/{services}-services" if services > 1 else "")
    ours, bounce = samples.pop("dsr"), samples.pop("bounce")
    yield speed(f"forward/dsr/{suffix}", ours, samples, TARGETS if flows > 1 else {})
    yield speed(f"forward/bounce/{suffix}", bounce, samples, {})
