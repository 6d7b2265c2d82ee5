"""What it takes to program the kernel: everything from nothing, and one change among everything."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from itertools import pairwise
from statistics import quantiles

import msgspec

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import Protocol
from announcer.model.steps import AttachDevices, ProgramFrontend
from datapath.hand import Datapath
from datapath.limits import Limits
from tests.bench.packets import made_node
from tests.bench.report import Row, figure
from tests.datapath.node import done

#: The range for benchmarks of RFC 2544, one service an address.
VIP = IPv4Address("198.18.0.0")
#: Behind the router of the node.
PODS = IPv4Address("10.64.0.0")

SERVICES, BACKENDS, CHANGES = 10_000, 262_144, 1_000
SECONDS_TARGET, CHANGE_TARGET = 5.0, 10.0


def frontends(services: int, backends: int) -> list[Frontend]:
    """All backends are different ones, shared out as evenly as can be."""
    shares = [backends * number // services for number in range(services + 1)]
    return [
        Frontend(
            key=FrontendKey(VIP + number, Protocol.TCP, 80),
            backends=tuple(Backend(PODS + at, 8080) for at in range(first, last)),
        )
        for number, (first, last) in enumerate(pairwise(shares))
    ]


def bench(*, services: int = SERVICES, backends: int = BACKENDS, changes: int = CHANGES) -> list[Row]:
    """Rows of all figures. Needs root."""
    wanted = frontends(services, backends)
    limits = Limits(backends=backends + 4096, row_pages=5 * services + 14 * changes)
    name = f"tables/{services}-services-{backends}-backends"
    with made_node() as node:
        datapath = node.datapath(limits)
        done(datapath.apply(AttachDevices(lane="devices")))
        before = _megabytes()
        began = time.perf_counter()
        for frontend in wanted:
            done(datapath.apply(_step(frontend)))
        spent = time.perf_counter() - began
        used = _megabytes() - before
        latencies = sorted(_changes(datapath, wanted, changes))
        observed = [_observe(datapath, services) for _ in range(6)]
    per_mille = quantiles(latencies, n=100)
    return [
        figure(f"{name}/from-nothing", [spent], "s", at_most=SECONDS_TARGET),
        figure(f"{name}/memory", [used], "MB at most"),
        figure(f"{name}/one-change/p50", [per_mille[49]], "ms", n=changes),
        figure(f"{name}/one-change/p99", [per_mille[98]], "ms", n=changes, at_most=CHANGE_TARGET),
        figure(f"{name}/read-back/first", observed[:1], "ms"),
        figure(f"{name}/read-back/unchanged", observed[1:], "ms"),
    ]


def _changes(datapath: Datapath, wanted: Sequence[Frontend], count: int) -> Iterator[float]:
    """Milliseconds of one change each: a backend of one Service is replaced by another."""
    chosen = random.Random(7).sample(wanted, min(count, len(wanted)))
    for number in range(count):
        frontend = chosen[number % len(chosen)]
        new = Backend(PODS + BACKENDS + number, 8080)
        step = _step(msgspec.structs.replace(frontend, backends=tuple(sorted((*frontend.backends[1:], new)))))
        began = time.perf_counter()
        outcome = datapath.apply(step)
        yield 1000 * (time.perf_counter() - began)
        done(outcome)


def _observe(datapath: Datapath, services: int) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    seen = datapath.observe(())
    spent = 1000 * (time.perf_counter() - began)
    assert not seen.problem, seen.problem
    assert len(seen.frontends) == services
    return spent


def _step(frontend: Frontend) -> ProgramFrontend:
    return ProgramFrontend(lane=str(frontend.key.vip), frontend=frontend)


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
