"""A process that knows passwords leaves no core dump. What is said of passwords is tested in ``tests/e2e``."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """\
import ctypes, os, resource, sys
from bgpd.secrecy import leave_no_core
if {guarded}:
    leave_no_core()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[1],
      int(open("/proc/self/coredump_filter").read(), 16), flush=True)
os.abort()
"""


def _abort(folder: Path, *, guarded: bool) -> tuple[list[int], bool]:
    """Dumpable mark, limit and filter of a process that aborts, and whether it left a core."""

    def allow_cores() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT.format(guarded=guarded)],
        stdout=subprocess.PIPE, text=True, cwd=folder, preexec_fn=allow_cores, env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as said:
        values = [int(word) for word in said.read().split()]
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0
    assert os.WTERMSIG(status) == signal.SIGABRT
    return values, os.WCOREDUMP(status)


@pytest.mark.root
def test_a_process_that_knows_passwords_leaves_no_core(tmp_path: Path) -> None:
    values, core = _abort(tmp_path, guarded=True)
    assert values == [0, 0, 0]
    assert not core
    assert list(tmp_path.iterdir()) == []

    # Control: without it the same process can be dumped, and is.
    values, core = _abort(tmp_path, guarded=False)
    assert values[0] == 1
    assert values[1] != 0
    assert values[2] != 0
    assert core
