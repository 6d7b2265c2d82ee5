"""Notices that the clock was set: CLOCK_REALTIME against CLOCK_MONOTONIC. It is counted and told, nothing more.

Nothing of ours decides by the time of day, and ExaBGP does not either (``bgpd.overlay``). But whoever looks for the
cause of something strange should know.
"""

from __future__ import annotations

import logging
import time

log = logging.getLogger("lockstep.speaker")

#: The kernel slews by 0.5 ms per second at most (adjtimex(2)), so this much between two looks was a step.
_STEP_SECONDS = 1.0
#: Both clocks must be read within this time, or a pause in between would look like a step.
_TOGETHER_SECONDS = 0.1


class ClockWatch:
    """Look at it about once in a second."""

    def __init__(self) -> None:
        """From now on."""
        self.steps = 0
        self._offset = self._read()

    def look(self) -> bool:
        """True if the clock was set since the last look, or the machine slept."""
        offset = self._read()
        if offset is None:
            return False
        before, self._offset = self._offset, offset
        if before is None or abs(offset - before) < _STEP_SECONDS:
            return False
        self.steps += 1
        log.warning("the clock was set by %+.1f s; sessions are not touched", offset - before)
        return True

    @staticmethod
    def _read() -> float | None:
        first = time.monotonic()
        wall = time.time()
        last = time.monotonic()
        return wall - first if last - first < _TOGETHER_SECONDS else None
