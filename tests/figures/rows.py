"""Rows of these figures."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.report import Row


def counted(name: str, value: int, of: int, *, control: str | None) -> Row:
    """How many of ``of``; the target is none."""
    number = float(value)
    return Row(
        name=name,
        value=number,
        unit=f"of {of}",
        spread=(number, number),
        n=1,
        target="0",
        ok=value == 0,
        control=control,
    )


def percentiles(name: str, seconds: Sequence[float], *, targets: tuple[float, float] | None = None) -> list[Row]:
    """The median and the 99th percentile (of few samples: the highest), in milliseconds."""
    ordered = sorted(1000 * one for one in seconds)
    spread = (round(ordered[0], 1), round(ordered[-1], 1))
    found = []
    for index, (word, share) in enumerate((("p50", 0.5), ("p99", 0.99))):
        value = round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        target = targets[index] if targets else None
        found.append(
            Row(
                name=f"{name}/{word}",
                value=value,
                unit="ms",
                spread=spread,
                n=len(ordered),
                target=None if target is None else f"<= {target:g} ms",
                ok=None if target is None else value <= target,
            )
        )
    return found
