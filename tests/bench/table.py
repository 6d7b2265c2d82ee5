"""``python -m tests.bench.table [bench.json]``: the rows of a run as tables of the documentation, one for each part."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import msgspec

from tests.bench.report import Figures, Row

_HEAD = "| what | median | unit | spread | n | ratio | target |\n|---|---|---|---|---|---|---|\n"


def markdown(rows: Iterable[Row]) -> str:
    """A table for each run of rows whose names begin alike."""
    parts = groupby(rows, lambda row: row.name.partition("/")[0])
    return "\n".join(_HEAD + "".join(map(_line, part)) for _, part in parts)


def _line(row: Row) -> str:
    ratio = ", ".join(f"{value:.2f} {'R' if name == 'reference' else name}" for name, value in row.ratio.items())
    verdict = "" if row.ok is None else " met" if row.ok else " **missed**"
    spread = f"{row.spread[0]:g} to {row.spread[1]:g}" if row.n > 1 else ""
    return f"| {row.name} | {row.value:g} | {row.unit} | {spread} | {row.n} | {ratio} | {row.target or ''}{verdict} |\n"


if __name__ == "__main__":
    data = Path(*sys.argv[1:2] or ["bench.json"]).read_bytes()
    print(markdown(msgspec.json.decode(data, type=Figures).rows))
