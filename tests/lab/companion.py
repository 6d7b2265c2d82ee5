"""A program that runs beside a test on a host: it says a word when it is ready, and JSON when its input ends.

Some also tell in JSON what they have seen so far whenever they are sent a line, so that a test can hold a fault until
it was seen.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from tests.lab.host import Host, Process

Told = TypeVar("Told")


class Companion(Generic[Told]):
    """Runs from entering the context to :meth:`stop`."""

    def __init__(
        self,
        host: Host,
        argv: Sequence[str | Path],
        ready: str,
        told: type[Told],
        *,
        timeout: float = 30,
        cwd: Path | None = None,
    ) -> None:
        """``ready``: its first line. ``told``: what its JSON is read as. ``timeout``: to end, in seconds."""
        self._host = host
        self._argv = argv
        self._ready = ready
        self._told = told
        self._timeout = timeout
        self._options: dict[str, Any] = {} if cwd is None else {"cwd": cwd}
        self._process: Process | None = None

    def __enter__(self) -> Self:
        """Start; it is ready when this returns."""
        self._process = self._host.popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **self._options)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{self._ready}\n"
        return self

    def look(self) -> Told:
        """What it has seen so far. Only for a program that answers a line."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=self._told)

    def stop(self) -> Told:
        """End it, and say what it has told."""
        assert self._process is not None
        said, _ = self._process.communicate("", timeout=self._timeout)
        return msgspec.json.decode(said, type=self._told)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it if :meth:`stop` was not reached."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
