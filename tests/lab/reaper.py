"""Removes a lab whose owner is gone; started by the lab as ``reaper.py LAB_ID`` with a pipe as standard input.

The pipe ends when the owner does, however it ended. A copy of the pipe in a forked child of the owner would hide that,
so the owner itself is watched as well. A line ``keep`` before the end means that the lab shall stay.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from registry import Registry  # type: ignore[import-not-found]  # run by path, so this folder is the import path

QUIET_SECONDS = 1.0
GIVE_UP_SECONDS = 60.0


def wait_for_the_end() -> bool:
    """Block until the owner is done; return whether the lab shall be removed."""
    owner = os.pidfd_open(os.getppid())
    pipe = sys.stdin.fileno()
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    poller.register(owner, select.POLLIN)
    poller.poll()
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 16) != b"keep\n"
    except BlockingIOError:
        return True


def remove_until_quiet(registry: Registry) -> None:
    """Remove until nothing new turns up: a command that the owner had just started may still be making things."""
    quiet_since = time.monotonic()
    give_up = quiet_since + GIVE_UP_SECONDS
    while time.monotonic() < min(quiet_since + QUIET_SECONDS, give_up):
        if registry.leftovers():
            registry.remove()
            quiet_since = time.monotonic()
        time.sleep(0.05)


def main() -> None:
    """Outlive every signal that reaches the owner's terminal or group."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    registry = Registry(sys.argv[1])
    if wait_for_the_end():
        remove_until_quiet(registry)


if __name__ == "__main__":
    main()
