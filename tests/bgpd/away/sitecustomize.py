"""Loaded by every Python that has this folder in its PYTHONPATH: while a file is there, no ExaBGP starts."""

import os
import sys
import time

if "bgpd.child" in sys.orig_argv:
    while os.path.exists(os.environ["LOCKSTEP_TEST_AWAY"]):
        time.sleep(0.01)
