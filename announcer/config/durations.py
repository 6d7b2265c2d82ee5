"""Durations as Go writes them (https://pkg.go.dev/time#ParseDuration), and the timers that are given in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from announcer.config.scalars import text
from announcer.config.walk import WrongValue
from announcer.yamltree import Node, shown

_DIGITS = re.compile(r"[0-9]{1,20}")
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(ns|us|µs|μs|ms|s|m|h)")

#: Seconds per unit.
_UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}


def hold_time(node: Node) -> int:
    """A hold time in seconds: 0, or 3 to 65535 (RFC 4271 section 4.2). Fractions are cut off."""
    seconds = _seconds(node)
    if seconds != 0 and not 3 <= seconds <= 65535:
        raise WrongValue(f"{shown(text(node))} is out of range", "a hold time is 0, or from 3s to 65535s")
    return seconds


def restart_time(node: Node) -> int:
    """A restart time in seconds: 1 to 4095, as it has 12 bits (RFC 4724 section 3). Fractions are cut off."""
    seconds = _seconds(node)
    if not 1 <= seconds <= 4095:
        raise WrongValue(f"{shown(text(node))} is out of range", "a restart time is from 1s to 4095s")
    return seconds


def keepalive_time(hold: int) -> Callable[[Node], int]:
    """A converter of the keepalive time that goes with a hold time: the engine knows a third of it and nothing else."""
    third = hold // 3

    def convert(node: Node) -> int:
        if _seconds(node) != third:
            problem = f"{shown(text(node))} is not a third of the hold time ({hold}s), which is what the engine sends"
            raise WrongValue(problem, f'write "{third}s" or remove the key; the interval follows from hold-time')
        return third

    return convert


def _seconds(node: Node) -> int:
    word = text(node)
    if _DIGITS.fullmatch(word) and word != "0":
        raise WrongValue(f'"{word}" has no unit', f'write "{int(word)}s"')
    parts = list(_PART.finditer(word))
    if word != "0" and (not parts or "".join(part.group() for part in parts) != word):
        raise WrongValue(f'"{shown(word)}" is not a duration', 'write one such as "90s" or "1m30s"')
    return int(sum((Fraction(part[1]) * _UNITS[part[2]] for part in parts), Fraction(0)))
