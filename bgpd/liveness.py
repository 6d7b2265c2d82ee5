"""Is the engine alive? It is asked once in a second; here it is judged whether it could have answered.

Looked at is it only while it owes an answer, and when the kernel says that it was stopped.

To replace an engine closes its sessions, so a machine under load must not look like a dead engine. What is counted is
time in which the engine could run and said nothing. Not counted is what it spent waiting for a CPU (schedstat) or for a
disk, and time in which we did not run ourselves and nobody asked. An engine that was stopped (SIGSTOP) needs no
replacing: it is told to go on, and keeps its sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

#: How often to look.
JUDGE_SECONDS = 0.25
#: So much silence is worth saying.
_REMARKABLE_SECONDS = 1.0


class Life(Enum):
    """What there is to say of the engine. ``STOPPED``: by job control; ``STUCK``: it is of no more use."""

    FINE = auto()
    SILENT = auto()
    STOPPED = auto()
    STUCK = auto()


class Process(NamedTuple):
    """``state``: one letter of proc(5). ``waited``: seconds for which it could have run and no CPU was free."""

    state: str
    waited: float


def read_process(pid: int) -> Process | None:
    """None if there is no such process. Where the kernel does not count waits, there are none."""
    folder = Path(f"/proc/{pid}")
    try:
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    try:
        waited = int((folder / "schedstat").read_text().split()[1]) / 1e9  # Documentation/scheduler/sched-stats.rst
    except (OSError, IndexError, ValueError):
        waited = 0.0
    return Process(state, waited)


class Liveness:
    """Judges one engine after the other. Look every ``JUDGE_SECONDS`` while it owes an answer."""

    def __init__(self, *, silence: float, stall: float, read: Callable[[int], Process | None] = read_process) -> None:
        """Seconds. ``silence``: that the engine may owe an answer though it can run. ``stall``: whatever keeps it."""
        self._limits = (silence, stall)
        self._read = read
        self._pid: int | None = None
        self._question: float | None = None
        self._before: Process | None = None
        self._last = 0.0
        self.silent = 0.0
        self.stalled = 0.0

    def look(self, pid: int | None, question: float | None, *, busy: bool, now: float) -> Life:
        """``question``: another value with every answer, None while it owes none. ``busy``: it does what takes long.

        ``now``: CLOCK_MONOTONIC seconds.
        """
        found = self._read(pid) if pid is not None else None
        before, self._before = self._before, found
        passed, self._last = min(now - self._last, 2 * JUDGE_SECONDS), now
        if (pid, question) != (self._pid, self._question) or before is None:
            self._pid, self._question = pid, question
            self.silent = self.stalled = 0.0
        elif question is not None and found is not None:
            self.stalled += passed
            if found.state != "D" and not busy:
                self.silent += max(0.0, passed - (found.waited - before.waited))
        return self._judge(found)

    def _judge(self, found: Process | None) -> Life:
        silence, stall = self._limits
        if found is None:
            return Life.FINE  # whoever waits for its end knows better
        if found.state == "T":
            return Life.STOPPED
        if self.silent > silence or self.stalled > stall:
            return Life.STUCK
        return Life.SILENT if self.silent > _REMARKABLE_SECONDS else Life.FINE
