"""Loaded by every Python that has this folder in its PYTHONPATH: its time of day can be set, as chrony sets a clock.

CLOCK_REALTIME belongs to the whole machine, so a test cannot step it for one process in any other way.
"""

import os
import time

_real = time.time


def _stepped() -> float:
    with open(os.environ["LOCKSTEP_TEST_CLOCK"]) as file:
        return _real() + float(file.read())


time.time = _stepped
