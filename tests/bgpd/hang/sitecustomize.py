"""Loaded by every Python that has this folder in its PYTHONPATH: on SIGWINCH it hangs, though nobody has stopped it.

That is what a deadlock or an endless loop looks like from outside.
"""

import signal
import time


def _hang(*_: object) -> None:
    while True:
        time.sleep(3600)


signal.signal(signal.SIGWINCH, _hang)
