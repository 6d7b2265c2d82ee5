"""An event loop whose time runs only while nothing else is to be done: five minutes of waiting take milliseconds.

Sockets are real, and both ends must be in this loop: when neither has anything to read, time jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: How long the kernel may take to bring a packet from one end of a loopback connection to the other, in real seconds.
_IN_FLIGHT = 0.002


class _Selector(selectors.DefaultSelector):
    """Waits no longer than packets are in flight, and counts all of it as passed."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now, or nothing after ``timeout`` virtual seconds."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        found = super().select(min(timeout, _IN_FLIGHT))
        if not found:
            self.skipped += timeout
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``loop.time()`` is virtual: what is done takes no time, however slow the machine is."""

    def __init__(self) -> None:
        self._own = _Selector()
        self._began = super().time()
        super().__init__(self._own)

    def time(self) -> float:
        """Seconds, those that were skipped."""
        return self._began + self._own.skipped


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
