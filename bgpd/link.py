"""The life of the engine: one ExaBGP at a time with its helper's connection, replaced whenever it is of no more use.

It is of no more use when it exits, when its helper goes (ExaBGP ends the helper after a refused reload and is poisoned
then), when what it says makes no sense, and when it owes an answer for too long. The new one comes after a back-off.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from enum import StrEnum

from announcer.model.errors import TargetError
from bgpd.core import Core, Now
from bgpd.engine import Engine
from bgpd.refusal import Refusal
from bgpd.server import make_private, remove_socket
from bgpd.settings import SpeakerSettings

log = logging.getLogger("lockstep.speaker")

_BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
#: A run as long as this makes the next failure count as the first.
_GOOD_RUN_SECONDS = 60.0
_CONNECT_SECONDS = 20.0


class Cause(StrEnum):
    """Why an engine is replaced: a label of a metric."""

    EXITED = "exited"
    HELPER_GONE = "helper-gone"
    NONSENSE = "not-understood"
    STALLED = "stalled"
    RELOAD = "reload-refused"
    NOT_CONNECTED = "not-connected"
    NOT_STARTED = "not-started"
    NOT_WANTED = "not-wanted"


def now() -> Now:
    """This moment."""
    return Now(time.monotonic(), time.time())


class Link:
    """Keeps an engine running while ``wanted`` is set, and carries bytes between it and the core."""

    def __init__(self, settings: SpeakerSettings, core: Core, moved: Callable[[], None]) -> None:
        """``moved`` is called after anything that may have changed the core."""
        self._settings = settings
        self._core = core
        self._moved = moved
        self._writer: asyncio.StreamWriter | None = None
        self._failure: asyncio.Future[tuple[Cause, str]] | None = None
        self._server: asyncio.Server | None = None
        self.engine = Engine(settings, self._poisoned, self._refused_peer)
        self.wanted = asyncio.Event()
        self.connected = asyncio.Event()

    async def listen(self) -> None:
        """Wait for helpers on the relay socket (mode 0700 folder)."""
        path = self._settings.relay_socket
        remove_socket(path)
        self._server = await asyncio.start_unix_server(self._helper, path)
        make_private(path)

    async def close(self) -> None:
        """End the engine in order and stop listening."""
        await self.engine.terminate()
        if self._server:
            self._server.close()
        if self._writer:
            self._writer.close()

    def fail(self, cause: Cause, problem: str) -> None:
        """Have the engine replaced."""
        if self._failure and not self._failure.done():
            self._failure.set_result((cause, problem))

    def _poisoned(self) -> None:
        self.fail(Cause.RELOAD, "ExaBGP was told by somebody to load its configuration again, and refused")

    def _refused_peer(self, refusal: Refusal) -> None:
        self._core.peer_refused(refusal)
        self._moved()

    def write(self, data: bytes) -> None:
        """Give ``data`` to the engine. The dialogue's window bounds what can be waiting here."""
        if self._writer and data:
            self._writer.write(data)

    async def run(self) -> None:
        """Until cancelled: one engine after the other."""
        failures = 0
        while True:
            await self.wanted.wait()
            started = time.monotonic()
            cause, problem = await self._one_engine()
            self._drop(problem)
            if not self.wanted.is_set():
                continue  # it was ended because there is no neighbor any more
            restarts = self._core.engine_restarts
            restarts[cause] = restarts.get(cause, 0) + 1
            failures = 0 if time.monotonic() - started > _GOOD_RUN_SECONDS else failures + 1
            delay = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
            log.error("%s; ExaBGP is started again in %.1f s (restart %d)", problem, delay, sum(restarts.values()))
            await asyncio.sleep(delay)

    async def _one_engine(self) -> tuple[Cause, str]:
        """Run one engine to its end. Returns why it ended."""
        self._failure = asyncio.get_running_loop().create_future()
        try:
            await self.engine.start()
        except OSError as error:
            return Cause.NOT_STARTED, f"ExaBGP cannot be started: {error}"
        exited = asyncio.create_task(self.engine.wait())
        deadline = asyncio.get_running_loop().call_later(_CONNECT_SECONDS, self._check_connected)
        try:
            await asyncio.wait((exited, self._failure), return_when=asyncio.FIRST_COMPLETED)
            if exited.done() and not self._failure.done():
                # Its helper's connection ends at the same moment; this is the better reason.
                return Cause.EXITED, f"ExaBGP ended with status {exited.result()}"
            self.engine.kill()
            await exited
            return self._failure.result()
        finally:
            deadline.cancel()
            exited.cancel()
            self.engine.kill()

    def _check_connected(self) -> None:
        if not self.connected.is_set():
            self.fail(Cause.NOT_CONNECTED, f"ExaBGP's helper did not connect in {_CONNECT_SECONDS:.0f} s")

    def _drop(self, problem: str) -> None:
        self.connected.clear()
        if self._writer:
            self._writer.close()
            self._writer = None
        self._core.engine_lost(now(), problem)
        self._moved()

    async def _helper(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None or self.engine.pid is None:
            writer.close()
            return
        self._writer = writer
        self._core.engine_connected(now())
        self.connected.set()
        self._moved()
        cause, problem = Cause.HELPER_GONE, "ExaBGP's helper has gone"
        try:
            while data := await reader.read(1 << 16):
                if self._writer is not writer:
                    return
                self._core.receive(data, now())
                self._moved()
        except (TargetError, ValueError) as error:
            cause, problem = Cause.NONSENSE, f"ExaBGP cannot be understood: {error}"
        except ConnectionError:
            pass
        finally:
            writer.close()
        if self._writer is writer:
            # If ExaBGP itself ends now, its status is the better reason.
            asyncio.get_running_loop().call_later(0.05, self._fail_alive, cause, problem)

    def _fail_alive(self, cause: Cause, problem: str) -> None:
        if not self.engine.ended:
            self.fail(cause, problem)
