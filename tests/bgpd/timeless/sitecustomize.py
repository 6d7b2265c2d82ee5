"""Loaded by every Python that has this folder in its PYTHONPATH: speaker and ExaBGP do nothing because time passes.

What they come to do all the same, something else had them do: no sign of life, no whole second, no look at what is to
listen wakes ExaBGP meanwhile. With ``LOCKSTEP_TEST_TICKS`` in the environment whole seconds do.
"""

import os
import sys

_NEVER = 1e6

if "bgpd.child" in sys.orig_argv:
    import bgpd.listener
    import bgpd.waiting

    bgpd.listener.ARRANGE_SECONDS = _NEVER
    if "LOCKSTEP_TEST_TICKS" not in os.environ:
        bgpd.waiting.TICK_SECONDS = _NEVER
elif "run_speaker" in " ".join(sys.orig_argv):
    import bgpd.core

    bgpd.core.PING_SECONDS = _NEVER
