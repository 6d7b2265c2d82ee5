"""``with Blast(lab.client, VIP) as blast:`` sends while something is done to the nodes; ``stop`` says what was lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

import msgspec

from tests.lab.host import Host, Process

_PROGRAM = Path(__file__).with_name("blast.py")


class Blasted(msgspec.Struct, frozen=True):
    """Datagrams sent and lost; connections held and broken."""

    sent: int
    lost: int
    connections: int
    broken: int


class Blast:
    """1,000 datagrams a second and 200 connections, unless told otherwise."""

    def __init__(self, host: Host, vip: str, *, rate: int = 1000, connections: int = 200) -> None:
        """``rate`` per second."""
        self._host = host
        options = ["--udp-port=53", "--tcp-port=80", f"--rate={rate}", f"--connections={connections}"]
        self._argv: list[str | Path] = [sys.executable, "-I", "-S", _PROGRAM, vip, *options]
        self._process: Process | None = None

    def __enter__(self) -> Blast:
        """Start; all connections stand when this returns."""
        self._process = self._host.popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n"
        return self

    def stop(self) -> Blasted:
        """Send no more, wait for what is late, and tell."""
        assert self._process is not None
        said, _ = self._process.communicate("", timeout=30)
        return msgspec.json.decode(said, type=Blasted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it if :meth:`stop` was not reached."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
