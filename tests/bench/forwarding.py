"""Packets that are really forwarded from one network namespace to another, by the datapath and by the kernel.

The router sends packets to the node and counts what comes back for the backends. Each way of forwarding has a router
and a node of its own. Everything runs on one CPU: who sends, the node, and who counts; so what sending and counting
cost is in every figure, and makes all ratios smaller than they are. How much that is, a node shows that does nothing
but send back what comes (``bounce``): no forwarder can be faster in this laboratory. Where there is a second CPU,
packets are forwarded once more, and only what they cost the node is counted (:mod:`tests.bench.own_core`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from announcer.model.net import IPAddress
from tests.bench import rules
from tests.bench.own_core import OwnCore
from tests.bench.packets import IPV4, LIMITS, PORT, program, shorten
from tests.bench.report import Row, speed
from tests.bench.under_test import compiled
from tests.bench.way import Way
from tests.datapath.netns import entered, run, sweep
from tests.datapath.node import eventually

ROUNDS = 5
FLOWS = (1, 1 << 16)
_BACKENDS = [f"{backend.address}:{backend.port}" for backend in IPV4.remote[:2]]


@contextlib.contextmanager
def _on(cpu: int) -> Iterator[None]:
    """This thread works there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
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
    shorten(datapath)


def _bounce(way: Way, _services: int) -> None:
    way.bounce()


def _iptables(way: Way, services: int) -> None:
    _track(way)
    text = rules.iptables(_vips(services), PORT, _BACKENDS)
    run("iptables-legacy-restore", netns=way.node.netns, stdin=text)


def _nftables(way: Way, services: int) -> None:
    _track(way)
    text = rules.nftables(_vips(services), PORT, _BACKENDS)
    run("nft", "-f", "-", netns=way.node.netns, stdin=text, within=180)  # 10,000 services: 20 to 40 s


def _track(way: Way) -> None:
    """The frames differ in their ports and not in their checksum; to the kernel's own forwarding that is the same."""
    run("sysctl", "-qw", "net.netfilter.nf_conntrack_checksum=0", netns=way.node.netns)


def _vips(services: int) -> list[IPAddress]:
    return [IPV4.vip + number for number in range(services)]


#: By a command of their own, which has nothing to do with this process.
RULES: dict[str, Make] = {"nftables": _nftables, "iptables": _iptables}
#: The others are made in the node's network namespace.
WAYS: dict[str, Make] = {"dsr": _ours, "bounce": _bounce, "plain": _plain} | RULES
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
        for name in WAYS:
            ways[name] = Way(obj, IPV4.remote[0].address if name in _TO_BACKEND else IPV4.vip)
        with ThreadPoolExecutor() as threads:  # nft is busy for half a minute with 10,000 services
            loading = [threads.submit(load, ways[name], services) for name, load in RULES.items()]
            for name, make in WAYS.items():
                if name not in RULES:
                    with entered(ways[name].node.netns):
                        make(ways[name], services)
            for each in loading:
                each.result()
        for name, way in ways.items():
            eventually(lambda way=way: _comes_back(way), f"{name}: packets come back")  # type: ignore[misc]
        cpus = sorted(os.sched_getaffinity(0))
        with _on(cpus[-1]):
            yield from _table("forward", {name: way.nanoseconds for name, way in ways.items()}, services)
        if len(cpus) > 1:
            with _on(cpus[0]):
                cores = {name: OwnCore(way, node_cpu=cpus[-1], other_cpu=cpus[0]) for name, way in ways.items()}
                yield from _table(
                    "forward-own-core", {name: core.nanoseconds for name, core in cores.items()}, services
                )
    finally:
        for way in ways.values():
            way.close()


def _comes_back(way: Way) -> bool:
    """The next hop is known, and whatever else takes a moment after everything was set."""
    try:
        return way.nanoseconds(flows=1, services=0, packets=64, within=0.2) > 0
    except AssertionError:
        return False


class Measure(Protocol):
    """Nanoseconds a packet by one way."""

    def __call__(self, *, flows: int, services: int) -> float: ...


def _table(group: str, ways: dict[str, Measure], services: int) -> Iterator[Row]:
    for flows in FLOWS:
        if flows >= services:
            yield from _rows(group, ways, flows, services)


def _rows(group: str, ways: dict[str, Measure], flows: int, services: int) -> Iterator[Row]:
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, ROUNDS):  # the first fills caches and tables, and is not counted
        for name, nanoseconds in ways.items():
            spread = services if services > 1 and name not in _TO_BACKEND else 0
            found = nanoseconds(flows=flows, services=spread)
            if number >= 0:
                samples[name].append(found)
    suffix = f"ipv4/{flows}-flow{'s' if flows > 1 else ''}" + (f"/{services}-services" if services > 1 else "")
    ours, bounce = samples.pop("dsr"), samples.pop("bounce")
    yield speed(f"{group}/dsr/{suffix}", ours, samples, TARGETS if flows > 1 else {})
    yield speed(f"{group}/bounce/{suffix}", bounce, samples, {})
