"""Line charts as SVG, for the documentation: as much as it needs, and no library that draws everything else too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 28, 40, 48
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7a4e9e")
#: Of the axis upwards.
_STEPS = (1, 2, 2.5, 5, 10)

Points = Sequence[tuple[float, float]]


def line_chart(title: str, across: str, up: str, lines: Mapping[str, Points], *, limit: float | None = None) -> str:
    """The text of an SVG file. ``across`` is logarithmic, ``up`` begins with 0. ``limit``: a dashed line at the target.

    Raises ``ValueError`` for a point that has no place: not above 0 across, or below 0 upwards.
    """
    points = [point for line in lines.values() for point in line]
    if not points or any(x <= 0 or y < 0 for x, y in points):
        raise ValueError("points have to lie above 0 across, and not below it upwards")
    most = max([y for _, y in points] + ([limit] if limit is not None else []))
    step = _step(most)
    top = step * math.ceil(most / step)
    first, last = (pick(math.log10(x) for x, _ in points) for pick in (min, max))

    def place(x: float, y: float) -> tuple[float, float]:
        along = (math.log10(x) - first) / ((last - first) or 1)
        return (
            round(_LEFT + along * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - y / top * (HEIGHT - _TOP - _BOTTOM), 1),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, title, "middle", size=14),
        _text(WIDTH / 2, HEIGHT - 10, across, "middle"),
        f'<g transform="rotate(-90 14 {HEIGHT / 2})">{_text(14, HEIGHT / 2, up, "middle")}</g>',
    ]
    for mark in range(round(top / step) + 1):
        x, y = place(10**first, mark * step)
        parts.append(f'<line x1="{x}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(x - 6, y + 4, f"{mark * step:g}", "end"))
    marks = sorted({x for x, _ in points})
    parts += [_text(place(value, 0)[0], HEIGHT - _BOTTOM + 16, f"{value:,g}", "middle") for value in marks]
    if limit is not None:
        (x, y), (end, _) = place(10**first, limit), place(10**last, limit)
        parts.append(f'<line x1="{x}" y1="{y}" x2="{end}" y2="{y}" stroke="#444" stroke-dasharray="6 4"/>')
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [place(x, y) for x, y in line]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(_LEFT + 12, _TOP + 6 + 16 * number, name, "start", colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def _step(most: float) -> float:
    """A round number of which four to ten make ``most``."""
    unit = 10.0 ** math.floor(math.log10(most or 1) - 1)
    return next(step * unit for step in (*_STEPS, 20) if most / (step * unit) <= 8)


def _text(x: float, y: float, text: str, anchor: str, *, size: int = 12, colour: str = "#222") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
