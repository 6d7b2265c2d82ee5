"""``python -m tests.bench.scale``: how cost grows, measured and drawn into ``docs/performance/``.

Every sweep is a line of points (size, figure) in ``scale.json``; the charts are drawn from that file alone, so
``--draw`` draws them again without measuring. Needs root and about five minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import tempfile
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from announcer.model.lb import Backend
from announcer.model.steps import AttachDevices
from datapath import shim
from datapath.limits import Limits
from datapath.settle import INGRESS
from tests.bench import packets, routes, tables
from tests.bench.chart import line_chart
from tests.bench.report import Row
from tests.bench.under_test import Forwarders
from tests.datapath.node import done

FOLDER = Path(__file__).parents[2] / "docs" / "performance"
SERVICES = (1, 64, 512, 1_000, 2_000, 5_000, 10_000)
#: Up to 16 the backend is worked out, from 17 on it stands in a row.
FEW, MANY = 10, 20
PROGRAMMED = (500, 1_000, 2_000, 5_000, 10_000)
#: Behind each of those.
EACH = 26
ROUTES = (100, 1_000, 3_000, 10_000)
_FLOWS = 1 << 16

Points = list[tuple[float, float]]


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """All sweeps of one run, by chart and line, and the machine and its load that they are from."""

    kernel: str
    load: float
    sweeps: dict[str, dict[str, Points]]


class _Chart(msgspec.Struct, frozen=True):
    """What is written at it. ``limit``: the target."""

    title: str
    across: str
    up: str
    limit: float | None = None


CHARTS = {
    "packet": _Chart("One packet, 65,536 flows, IPv4, DSR", "services", "times the reference forwarder (R)", 0.8),
    "program": _Chart(f"All services from nothing, {EACH} backends each", "services", "seconds", 5.0),
    "change": _Chart("One change among all services", "services", "milliseconds", 10.0),
    "read-back": _Chart("Reading everything back, nothing changed", "services", "milliseconds"),
    "routes": _Chart("Announcing to 2 peers", "routes", "routes a second and peer"),
}


def measure() -> Scale:
    """Run all sweeps."""
    with tempfile.TemporaryDirectory(prefix="lockstep-scale-") as folder:
        packet = {f"{count} backends each": _packet(Path(folder), count) for count in (FEW, MANY)}
    made = {size: tables.bench(services=size, backends=size * EACH) for size in PROGRAMMED}
    sweeps = {
        "packet": packet,
        "program": {"programmed": _points(made, "from-nothing")},
        "change": {which: _points(made, f"one-change/{which}") for which in ("p50", "p99")},
        "read-back": {"unchanged": _points(made, "read-back/unchanged")},
        "routes": _routes(),
    }
    return Scale(kernel=platform.release(), load=round(os.getloadavg()[0], 1), sweeps=sweeps)


def _packet(folder: Path, backends: int) -> Points:
    """By services, in units of the reference."""
    remote = tuple(Backend(IPv4Address("10.244.2.10") + at, 8080) for at in range(backends))
    family = msgspec.structs.replace(packets.IPV4, remote=remote)
    points: Points = []
    with packets.made_node() as node:
        datapath = node.datapath(Limits(row_pages=5 * max(SERVICES)))
        done(datapath.apply(AttachDevices(lane="devices")))
        forwarders = Forwarders(folder, socket.if_nametoindex("eth0"))
        there = 0
        for count in SERVICES:
            packets.program_services(datapath, family, range(there, count))
            if not there:
                packets.teach(forwarders, datapath, (family,))
            packets.shorten(datapath)
            there = count
            ours = shim.get(node.bpffs / "progs" / INGRESS)
            assert ours is not None
            case = packets.spread_case(family, flows=_FLOWS, services=count)
            row = packets.measure(case, ours, forwarders, node.link().address, datapath)
            points.append((count, row.ratio["reference"]))
    return points


def _points(made: dict[int, list[Row]], what: str) -> Points:
    return [(size, row.value) for size, rows in made.items() for row in rows if row.name.endswith(what)]


def _routes() -> dict[str, Points]:
    lines: dict[str, Points] = {"announced": [], "withdrawn": []}
    for count in ROUTES:
        with tempfile.TemporaryDirectory(prefix="lockstep-scale-") as folder:
            rows = routes.bench(Path(folder), routes=count, rounds=2, changes=2)
        for name, points in lines.items():
            points += [(count, row.value) for row in rows if row.name.endswith(f"peers/{name}")]
    return lines


def draw(scale: Scale, folder: Path = FOLDER) -> Iterable[Path]:
    """Write a chart for each sweep. Returns the files."""
    folder.mkdir(exist_ok=True)
    for name, chart in CHARTS.items():
        path = folder / f"{name}.svg"
        path.write_text(line_chart(chart.title, chart.across, chart.up, scale.sweeps[name], limit=chart.limit))
        yield path


def main() -> None:
    """Measure, unless told only to draw, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    data = FOLDER / "scale.json"
    if not parser.parse_args().draw:
        FOLDER.mkdir(exist_ok=True)
        data.write_bytes(msgspec.json.format(msgspec.json.encode(measure()), indent=2) + b"\n")
    for path in draw(msgspec.json.decode(data.read_bytes(), type=Scale)):
        print(path)


if __name__ == "__main__":
    main()
