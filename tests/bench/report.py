"""Rows of figures, as a table for people and as JSON for machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

SCHEMA = "lockstep.figures/v1"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. ``spread``: lowest and highest of ``n`` rounds; ``ratio``: to other things measured in the same run.

    ``target`` in words, ``ok`` None where there is none. ``control``: the negative control and its value.
    """

    name: str
    value: float
    unit: str
    spread: tuple[float, float]
    n: int
    ratio: Mapping[str, float] = {}
    target: str | None = None
    ok: bool | None = None
    control: str | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of one run and the machine they are from."""

    schema: str = SCHEMA
    kernel: str
    cpus: int
    rows: tuple[Row, ...]


def row(
    name: str,
    samples: Sequence[float],
    unit: str,
    *,
    reference: Sequence[float] | None = None,
    at_most: float | None = None,
    control: str | None = None,
) -> Row:
    """The median of ``samples``. ``reference``: the samples of the same rounds to compare with, one for each.

    ``at_most``: the target for that ratio. The ratio is the median of the ratios of the rounds: what made one round
    slow made both of its samples slow.
    """
    ratio = {} if reference is None else {"reference": round(_ratio(samples, reference), 3)}
    return Row(
        name=name,
        value=round(median(samples), 1),
        unit=unit,
        spread=(round(min(samples), 1), round(max(samples), 1)),
        n=len(samples),
        ratio=ratio,
        target=None if at_most is None else f"<= {at_most:g} reference",
        ok=None if at_most is None or not ratio else ratio["reference"] <= at_most,
        control=control,
    )


def speed(
    name: str, samples: Sequence[float], others: Mapping[str, Sequence[float]], at_least: Mapping[str, float]
) -> Row:
    """How many times as fast: nanoseconds a packet, and those of other ways in the same rounds divided by them.

    ``at_least``: the targets for these ratios, by way; empty for none.
    """
    ratio = {way: round(_ratio(theirs, samples), 2) for way, theirs in others.items()}
    return Row(
        name=name,
        value=round(median(samples), 1),
        unit="ns a packet",
        spread=(round(min(samples), 1), round(max(samples), 1)),
        n=len(samples),
        ratio=ratio,
        target=", ".join(f">= {target:g} {way}" for way, target in at_least.items()) or None,
        ok=all(ratio[way] >= target for way, target in at_least.items()) if at_least else None,
    )


def figure(
    name: str,
    samples: Sequence[float],
    unit: str,
    *,
    n: int | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
    digits: int = 1,
) -> Row:
    """The median of ``samples`` as it is. ``n``: how many measurements are behind them, if not one behind each."""
    value = round(median(samples), digits)
    met = [value <= at_most] if at_most is not None else [value >= at_least] if at_least is not None else [None]
    return Row(
        name=name,
        value=value,
        unit=unit,
        spread=(round(min(samples), digits), round(max(samples), digits)),
        n=len(samples) if n is None else n,
        target=f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}" if at_least is not None else None,
        ok=met[0],
    )


def _ratio(samples: Sequence[float], reference: Sequence[float]) -> float:
    return median(one / other for one, other in zip(samples, reference, strict=True) if other > 0)


def publish(rows: Sequence[Row], path: Path, title: str) -> None:
    """Print the table and write ``path``."""
    table = Table(title=title, title_justify="left")
    for heading in ("what", "median", "unit", "spread", "n", "ratio", "target", ""):
        table.add_column(heading, justify="left" if heading in ("what", "unit", "target", "") else "right")
    for each in rows:
        ratio = ", ".join(f"{value:.2f} {'R' if name == 'reference' else name}" for name, value in each.ratio.items())
        verdict = "" if each.ok is None else "met" if each.ok else "missed"
        spread = f"{each.spread[0]:g} to {each.spread[1]:g}"
        table.add_row(each.name, f"{each.value:g}", each.unit, spread, str(each.n), ratio, each.target or "", verdict)
    Console(width=150).print(table)
    figures = Figures(kernel=platform.release(), cpus=os.cpu_count() or 0, rows=tuple(rows))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
