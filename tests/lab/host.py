"""A host of the lab: a network namespace in which programs run.

Only the network namespace is entered. ``ip netns exec`` would also give the program a new mount namespace with a fresh
/sys, in which the BPF file systems of the lab are hidden and what is mounted stays invisible to everybody else.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from tests.lab.poll import LabError

Process = subprocess.Popen[str]
Output = int | IO[Any] | None


def reap(process: Process) -> None:
    """Wait for the end of a process that was told to end, and close what it was connected with."""
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


class Host:
    """A network namespace with a name of its own inside the lab (``client``, ``n1``, ``n1p2``)."""

    def __init__(self, name: str, netns: str, folder: Path, started: Callable[[Process], None]) -> None:
        """``netns`` is the namespace's name in /run/netns, ``folder`` the place for what the host writes.

        ``started`` is told of every process that :meth:`popen` starts.
        """
        self.name = name
        self.netns = netns
        self.folder = folder
        self._started = started

    def argv(self, argv: Sequence[str | Path]) -> list[str]:
        """Return the command line that runs ``argv`` on this host."""
        return ["nsenter", f"--net=/run/netns/{self.netns}", "--", *map(str, argv)]

    def run(
        self, argv: Sequence[str | Path], *, check: bool = True, timeout: float = 30, **kw: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` to its end and return it with its output as text.

        Raise LabError when it fails and ``check`` is set, or when it takes longer than ``timeout`` seconds.
        """
        try:
            done = subprocess.run(self.argv(argv), capture_output=True, text=True, timeout=timeout, check=False, **kw)
        except subprocess.TimeoutExpired as late:
            raise LabError(f"{self.name}: {shlex.join(map(str, argv))}: still running after {timeout:g} s") from late
        if check and done.returncode != 0:
            detail = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {shlex.join(map(str, argv))}: exit code {done.returncode}: {detail}")
        return done

    def popen(self, argv: Sequence[str | Path], *, stdout: Output = None, stderr: Output = None, **kw: Any) -> Process:
        """Start ``argv`` in a session of its own; it ends with the lab at the latest.

        Without ``stdout`` or ``stderr``, that output goes to the end of ``PROGRAM.log`` in the host's folder.
        """
        kw.setdefault("stdin", subprocess.DEVNULL)
        with open(self.folder / f"{Path(argv[0]).name}.log", "ab") as log:
            process = subprocess.Popen(
                self.argv(argv),
                text=True,
                start_new_session=True,
                stdout=log if stdout is None else stdout,
                stderr=log if stderr is None else stderr,
                **kw,
            )
        self._started(process)
        return process
