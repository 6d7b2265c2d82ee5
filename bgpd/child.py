"""Entry of the ExaBGP process: binds its life to the speaker's, puts right what must be, then becomes ExaBGP.

The kernel kills this process when the speaker ends, however it ends (prctl(2), PR_SET_PDEATHSIG): a session
whose speaker is gone would keep announcing what nobody can withdraw any more.

Usage: ``python -m bgpd.child PARENT_PID FORWARDING_MARK EXABGP_ARGUMENT…``
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from bgpd.overlay import (
    back_off_from_flapping,
    carry_bulks,
    change_while_waiting,
    claim_only_what_is_kept,
    run_on_monotonic_time,
)

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel send SIGKILL to this process when its parent ends. Exits at once if that has already happened."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(1)


def main() -> None:
    """Become ExaBGP."""
    die_with_parent(int(sys.argv[1]))
    run_on_monotonic_time()
    claim_only_what_is_kept(Path(sys.argv[2]))
    back_off_from_flapping()
    carry_bulks()
    change_while_waiting()
    from bgpd.listener import wait_for_passive_peers

    wait_for_passive_peers()
    sys.argv = ["exabgp", *sys.argv[3:]]
    from exabgp.application.main import main as exabgp_main

    sys.exit(exabgp_main())


if __name__ == "__main__":
    main()
