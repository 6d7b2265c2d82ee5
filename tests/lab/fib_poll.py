"""Looks at a host's FIB every 20 ms: was this route there all the time?

The journal (``tests.lab.journal``) hears every change that the kernel tells; this looks at the table itself, as a
packet would find it. Run as a program it does the looking, inside the host's namespace: /proc/net is the reader's.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

import msgspec

from tests.lab.companion import Companion
from tests.lab.host import Host

INTERVAL_S = 0.02
ROOT = Path(__file__).resolve().parents[2]


class FibSeen(msgspec.Struct, frozen=True):
    """``looks``: how many. ``missing``: how many of them found no route. ``first_missing``: Unix time of the first."""

    looks: int
    missing: int
    first_missing: float | None


class FibPoll(Companion[FibSeen]):
    """``with FibPoll(lab.router, prefix) as poll:`` looks until :meth:`stop`. Entered, it has looked once.

    It answers :meth:`look`.
    """

    def __init__(self, host: Host, prefix: str) -> None:
        """IPv4 only, as /proc/net/route is."""
        argv = [sys.executable, "-m", "tests.lab.fib_poll", prefix]
        super().__init__(host, argv, "looking", FibSeen, timeout=10, cwd=ROOT)


def has_route(table: str, prefix: str) -> bool:
    """True if ``table``, the text of /proc/net/route, holds a route to ``prefix`` that leads through a next hop."""
    network = IPv4Network(prefix)
    destination, mask = (f"{int.from_bytes(a.packed, sys.byteorder):08X}" for a in (network[0], network.netmask))
    rows = (line.split() for line in table.splitlines()[1:])
    return any(row[1] == destination and row[7] == mask and row[2] != "00000000" for row in rows)


def main() -> None:
    """Look at the route to the prefix given until standard input ends; print what was seen then, and for each line."""
    prefix = sys.argv[1]
    looks = missing = 0
    first: float | None = None
    table = Path("/proc/net/route")
    ended = False
    while not ended:
        there = has_route(table.read_text(), prefix)
        looks += 1
        if not there:
            missing += 1
            first = first or time.time()
        if looks == 1:
            print("looking", flush=True)
        if select.select([sys.stdin], [], [], INTERVAL_S)[0]:
            ended = not os.read(sys.stdin.fileno(), 1)
            print(json.dumps({"looks": looks, "missing": missing, "first_missing": first}), flush=True)


if __name__ == "__main__":
    main()
