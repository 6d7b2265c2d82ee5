"""The table of the last run, for docs/."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from tests.bench.report import Row

_HEAD = """# The promise in figures

From `make figures` (real kernel, BIRD and traffic in network namespaces; `make figures DOCS=1` writes this page).
The lab: one client, one router, two nodes with two backends each, all on one machine ({cpus} CPUs, kernel {kernel}).
Times are from that machine with whatever else it did (load average {load}); losses are counts. A control shows that the
run could have seen what it did not see. With `externalTrafficPolicy: Local` a node answers for itself alone and nothing
may be lost; with `Cluster` it takes the word of the others, and what that costs is told
([failure-modes.md](failure-modes.md), "Known to be lost").

| figure | value | unit | spread | n | target | control |
|---|---|---|---|---|---|---|
"""


def write_table(rows: Sequence[Row], path: Path, *, load: str) -> None:
    """Replace the page. ``load``: of the machine during the run, in words."""
    lines = [
        f"| {row.name} | {row.value:g} | {row.unit} | {row.spread[0]:g} to {row.spread[1]:g} | {row.n} | "
        f"{row.target or ''} {'' if row.ok is None else 'met' if row.ok else '**missed**'} | {row.control or ''} |"
        for row in rows
    ]
    head = _HEAD.format(cpus=os.cpu_count(), kernel=platform.release(), load=load)
    path.write_text(head + "\n".join(lines) + "\n")
