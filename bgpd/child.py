"""Entry of the ExaBGP process: binds its life to the speaker's, puts right what must be, then becomes ExaBGP.

The kernel kills this process when the speaker ends, however it ends (prctl(2), PR_SET_PDEATHSIG): a session
whose speaker is gone would keep announcing what nobody can withdraw any more.

Most of a start is the import of ExaBGP, so it may be started before it is wanted. By standard input it is told, a line
each, ``validate FILE``, which it has a copy of itself do (the answer: the status and where the problem stands), and
``start``. It ends when that ends before.

Usage: ``python -m bgpd.child PARENT_PID FORWARDING_MARK EXABGP_ARGUMENT…``
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bgpd.overlay import (
    back_off_from_flapping,
    carry_bulks,
    carry_out_without_event_loop,
    change_while_waiting,
    claim_only_what_is_kept,
    report_unread,
    run_on_monotonic_time,
    send_at_once,
)

_PR_SET_PDEATHSIG = 1
#: Where ExaBGP says that a configuration is wrong.
LINE = re.compile(r"line (\d+)")


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel send SIGKILL to this process when its parent ends. Exits at once if that has already happened."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(1)


def validate(exabgp_main: Callable[[], int | None], path: str) -> tuple[int, int]:
    """ExaBGP's status for this configuration, and the line of the problem (0: not said), of a copy of this process."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.dup2(theirs, sys.stderr.fileno())
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.argv = ["exabgp", "validate", path]
            sys.exit(exabgp_main())
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(theirs)
    with open(ours, encoding="utf-8", errors="replace") as errors:
        said = LINE.search(errors.read())
    _, ended = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(ended), int(said[1]) if said else 0


def main() -> None:
    """Become ExaBGP."""
    die_with_parent(int(sys.argv[1]))
    run_on_monotonic_time()
    claim_only_what_is_kept(Path(sys.argv[2]))
    back_off_from_flapping()
    send_at_once()
    carry_bulks()
    carry_out_without_event_loop()
    report_unread()
    change_while_waiting()
    from bgpd.listener import wait_for_passive_peers
    from bgpd.waiting import sleep_until_something_can_happen

    wait_for_passive_peers()
    sleep_until_something_can_happen()
    sys.argv = ["exabgp", *sys.argv[3:]]
    from exabgp.application.main import main as exabgp_main

    for line in sys.stdin:
        word, _, path = line.removesuffix("\n").partition(" ")
        if word == "start":
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(exabgp_main())
        print(*validate(exabgp_main, path), flush=True)


if __name__ == "__main__":
    main()
