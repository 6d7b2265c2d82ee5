"""Waiting: always for something, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.02


class LabError(Exception):
    """The lab could not do what it was asked to do."""


def until(check: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Call ``check`` until its answer is true and return that answer.

    Raise LabError, naming ``what`` was awaited and the last answer, when ``seconds`` have passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise LabError(f"not within {seconds:g} s: {what} (last seen: {answer!r})")
        time.sleep(INTERVAL_S)
