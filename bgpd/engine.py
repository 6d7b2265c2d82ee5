"""The ExaBGP process: started, watched, told to reload, ended. Knows nothing of routes.

What happened to a reload is read in ExaBGP's own log, because nothing else tells (and whom our listener in there
refused, see ``bgpd.refusal``): a reload is dropped without a word
while any peer has something queued, and a refused one (ExaBGP 5.0.15) ends the helper and leaves a parser that
refuses every later file too, so that only a new process helps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from announcer.model.errors import TargetError
from bgpd.refusal import Refusal
from bgpd.settings import SpeakerSettings
from bgpd.validation import engine_environment, validate

log = logging.getLogger("lockstep.exabgp")

_RELOAD_AGAIN_SECONDS = 1.0
_TERMINATE_SECONDS = 3.0
_LOADED = "loaded new configuration successfully"
_REFUSED = "could not load/reload configuration"


def has_ended(pid: int) -> bool:
    """True if this child has ended. Its status stays where it is (waitid(2), ``WNOWAIT``)."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _write(path: Path, text: str) -> None:
    """Mode 0600: passwords are in it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


class Engine:
    """One ExaBGP process at a time."""

    def __init__(
        self, settings: SpeakerSettings, refused: Callable[[], None], refused_peer: Callable[[Refusal], None]
    ) -> None:
        """Nothing runs yet. ``refused`` is called when it refuses a reload that we did not ask for.

        ``refused_peer`` is called when it refused connections where it waits for passive peers.
        """
        self._settings = settings
        self._refused = refused
        self._refused_peer = refused_peer
        self._text = ""
        self._process: asyncio.subprocess.Process | None = None
        self._prepared: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._loaded: asyncio.Future[bool] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def ended(self) -> bool:
        """True if it runs no more, also before :meth:`wait` has heard of that."""
        return self.pid is None or has_ended(self.pid)

    async def configure(self, text: str) -> None:
        """Have ``text`` validated, and put it where the next start or reload finds it.

        Raises TargetError, and leaves the old one in place, if ExaBGP would refuse it.
        """
        configuration = self._settings.configuration
        staged = configuration.with_suffix(".new")
        try:
            _write(staged, text)
            await validate(staged, self._prepared)
            staged.replace(configuration)
        except OSError as error:
            raise TargetError(f"write {staged}", errno=error.errno or 0) from error
        self._text = text

    async def prepare(self) -> None:
        """Have a process ready for the next start, which is then quicker. Raises OSError."""
        self._prepared = await self._spawn()

    async def start(self) -> None:
        """Start it with the configuration that was last given. It is killed if this process ends. Raises OSError."""
        self._restore()
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.returncode is not None:
            prepared = await self._spawn()
        self._process = prepared
        if prepared.stdin is not None:
            prepared.stdin.write(b"start\n")
            prepared.stdin.close()
        self._reader = asyncio.create_task(self._read_log(self._process))

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bgpd.child", str(os.getpid()), str(self._settings.forwarding_mark),
            "server", str(self._settings.configuration),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=engine_environment(), cwd="/",
        )  # fmt: skip

    async def wait(self) -> int:
        """Wait until it has ended; its return code."""
        if self._process is None:
            raise TargetError("wait for ExaBGP", detail="not started")
        return await self._process.wait()

    async def reload(self) -> bool:
        """Have it read its configuration again. False if it refuses, or does not say within the deadline."""
        self._loaded = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._settings.reload_deadline):
                while self.pid is not None:
                    self._signal(signal.SIGUSR1)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_RELOAD_AGAIN_SECONDS):
                            return await asyncio.shield(self._loaded)
        except TimeoutError:
            log.warning("no sign of the reload in %.0f s", self._settings.reload_deadline)
        finally:
            self._loaded = None
        return False

    def resume(self) -> None:
        """Have it go on, if it was stopped."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    async def terminate(self) -> None:
        """End it in order, or at once if that takes too long. Returns when it has ended."""
        if self._prepared is not None:
            with contextlib.suppress(ProcessLookupError):
                self._prepared.kill()  # it has nothing to lose
            await self._prepared.wait()
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_TERMINATE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def _restore(self) -> None:
        """Whoever changed the file behind our back may have made it one that ExaBGP cannot start with."""
        configuration = self._settings.configuration
        if not configuration.exists() or configuration.read_text(errors="replace") != self._text:
            log.warning("%s is not what was written there; it is written again", configuration)
            _write(configuration, self._text)

    def _signal(self, number: int) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        stream = process.stderr
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the stream's limit, which drops it
                continue
            if not line:
                return
            self._log_line(line.decode("utf-8", "replace").strip())

    def _log_line(self, line: str) -> None:
        source, _, text = line.partition(" ")
        text = text.strip()
        if _LOADED in text or _REFUSED in text:
            if self._loaded and not self._loaded.done():
                self._loaded.set_result(_LOADED in text)
            elif _REFUSED in text:
                self._refused()
        elif refusal := Refusal.parse(text):
            self._refused_peer(refusal)
        elif source == "configuration" and not text.startswith("performing reload"):
            text = "(text of the configuration, withheld)"
        if source not in ("advice", "welcome"):
            log.info("%s: %s", source, text)
