"""Traffic from a host of the lab, and what came of it. The work is done by ``load.py`` on that host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from tests.lab.host import Host
from tests.lab.poll import LabError

_LOAD = Path(__file__).with_name("load.py")
_PYTHON: list[str | Path] = [sys.executable, "-I", "-S"]

LoadProtocol = Literal["http", "udp"]


class Traffic(msgspec.Struct, frozen=True):
    """Outcome of some requests.

    ``backends`` counts the answers per pod, ``clients`` those per source address that the pods saw (HTTP only),
    ``errors`` the failures per kind; ``seconds`` is the time from the first request to the last answer.
    """

    ok: int
    failed: int
    backends: dict[str, int]
    clients: dict[str, int]
    errors: dict[str, int]
    seconds: float


def send(
    host: Host, target: str, *, count: int, protocol: LoadProtocol = "http", concurrency: int = 16, timeout: float = 2.0
) -> Traffic:
    """Send ``count`` requests from ``host`` to ``target`` (``ADDRESS:PORT``), each on a new connection or port."""
    argv = [
        *_PYTHON,
        _LOAD,
        protocol,
        target,
        f"--count={count}",
        f"--concurrency={concurrency}",
        f"--timeout={timeout}",
    ]
    worst = 10 + timeout * (count / concurrency + 1)
    return msgspec.json.decode(host.run(argv, timeout=worst).stdout, type=Traffic)


class SteadyTraffic:
    """Requests at an even pace from entering the context until :meth:`stop`, whatever happens to them."""

    def __init__(
        self, host: Host, target: str, *, rate: float, protocol: LoadProtocol = "http", timeout: float = 2.0
    ) -> None:
        """``rate`` is in requests per second, ``timeout`` the seconds that one may take."""
        self._argv = [*_PYTHON, _LOAD, protocol, target, f"--rate={rate}", f"--timeout={timeout}"]
        self._host = host
        self._grace = timeout + 10
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> SteadyTraffic:
        """Start; the first request is on its way when this returns."""
        pipe = subprocess.PIPE
        self._process = self._host.popen(self._argv, stdin=pipe, stdout=pipe)
        assert self._process.stdout
        if self._process.stdout.readline() != "started\n":
            raise LabError(f"{self._host.name}: the load client did not start, see {self._host.folder}")
        return self

    def stop(self) -> Traffic:
        """Send no more, wait for the answers that are due, and return the outcome."""
        assert self._process
        output, _ = self._process.communicate(timeout=self._grace)
        return msgspec.json.decode(output, type=Traffic)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the load client if :meth:`stop` was not reached."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
