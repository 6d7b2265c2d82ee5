"""Runs FRR's ``bfdd`` while a neighbor has BFD, and tells the core of every change.

It runs alone, without zebra, so it touches no route and no interface of the node. Its folder must be one that its own
user may write to, and the speaker's is not. A ``bfdd`` that ends says nothing of any peer: sessions stay as they are,
its state is unknown, and it is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
from collections.abc import Callable
from hashlib import blake2s
from pathlib import Path

import bgpd
from announcer.model.bgp import Neighbor
from announcer.model.errors import TargetError
from bgpd.addresses import on_link
from bgpd.bfd import BfdSession, Notifications, ask_for_changes, commands
from bgpd.core import Core
from bgpd.routing import source_toward

log = logging.getLogger("lockstep.bfd")

#: Where Debian's package frr has it.
PROGRAM = Path("/usr/lib/frr/bfdd")
_USER, _GROUP = "frr", "frr"
_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 2.0
_START_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
_ANSWER_END = b"\0\0\0"


def check_bfd(neighbor: Neighbor) -> None:
    """Raises TargetError if ``neighbor`` has BFD and this node has no daemon for it: it is not run without."""
    if neighbor.bfd is not None and not PROGRAM.exists():
        raise TargetError("run BFD", detail=f"there is no {PROGRAM} here; the Debian package frr has it")


class Bfd:
    """One ``bfdd`` at a time."""

    def __init__(self, state_dir: Path, core: Core, moved: Callable[[], None]) -> None:
        """``moved`` is called after anything that may have changed the core."""
        self._folder = Path("/run") / f"lockstep-bfd-{blake2s(str(state_dir).encode(), digest_size=6).hexdigest()}"
        self._core = core
        self._moved = moved
        self._running: frozenset[BfdSession] = frozenset()
        self._needed = asyncio.Event()

    def follow(self) -> None:
        """The neighbors may be others. There is nothing to look after while none of them has BFD."""
        if any(peer.neighbor.bfd is not None for peer in self._core.peers.values()):
            self._needed.set()
        else:
            self._needed.clear()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._needed.wait()
                if self._wanted():
                    problem = await self._one_daemon()
                    self._running = frozenset()
                    self._core.bfd_unknown(problem)
                    self._moved()
                    log.error("bfdd: %s", problem)
                    await asyncio.sleep(_RETRY_SECONDS)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wanted(self) -> frozenset[BfdSession]:
        """The sessions of all neighbors that have BFD and a route."""
        found = set()
        for peer in self._core.peers.values():
            neighbor = peer.neighbor
            if neighbor.bfd is None:
                continue
            with contextlib.suppress(TargetError):
                local = neighbor.local_address or source_toward(neighbor.address, neighbor.port)
                far = neighbor.multihop or (neighbor.internal and not on_link(local, neighbor.address))
                found.add(BfdSession(neighbor.address, local, far, neighbor.bfd))
        return frozenset(found)

    async def _one_daemon(self) -> str:
        """Run one ``bfdd`` until it ends or is of no more use. Returns why."""
        try:
            self._make_folder()
            process = await asyncio.create_subprocess_exec(
                *self._argv(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, cwd="/"
            )
        except (OSError, LookupError) as error:
            return f"it cannot be started: {error}"
        ended = asyncio.create_task(process.wait())
        talking = asyncio.create_task(self._talk())
        try:
            await asyncio.wait((ended, talking), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return f"it ended with status {ended.result()}: is another BFD daemon on this node?"
            return talking.result()
        finally:
            talking.cancel()
            if process.stdin is not None:
                process.stdin.close()
            await ended
            await asyncio.gather(talking, return_exceptions=True)

    def _make_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)
        (self._folder / "bfdd.conf").write_text("hostname lockstep\n")
        for path in (self._folder, self._folder / "bfdd.conf"):
            shutil.chown(path, _USER, _GROUP)

    def _argv(self) -> list[str]:
        at = str(self._folder)
        files = ["-f", f"{at}/bfdd.conf", "-i", f"{at}/bfdd.pid", "-z", f"{at}/zserv.api", "--vty_socket", at]
        options = ["-P", "0", "-u", _USER, "-g", _GROUP, "--bfdctl", self._control, "--log", "stdout"]
        child = Path(bgpd.__file__).parent / "bfd_child.py"
        return [sys.executable, "-S", str(child), at, str(PROGRAM), *files, *options]

    @property
    def _control(self) -> str:
        return f"{self._folder}/bfdd.sock"

    async def _talk(self) -> str:
        """Keep the sessions of the daemon those that are wanted, and hear of changes. Returns what went wrong."""
        writers: list[asyncio.StreamWriter] = []
        try:
            async with asyncio.timeout(_START_SECONDS):
                control, asking = await _connect(self._control)
                writers.append(asking)
                terminal = await _connect(f"{self._folder}/bfdd.vty")
                writers.append(terminal[1])
            asking.write(ask_for_changes())
            hearing = asyncio.create_task(self._hear(control))
            try:
                while not hearing.done():
                    await self._configure(*terminal)
                    await asyncio.wait((hearing,), timeout=_LOOK_SECONDS)
                return hearing.result()
            finally:
                hearing.cancel()
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return f"it does not answer as it should: {type(error).__name__} {error}"
        finally:
            for writer in writers:
                writer.close()

    async def _hear(self, control: asyncio.StreamReader) -> str:
        notifications = Notifications()
        while data := await control.read(1 << 16):
            for change in notifications.receive(data):
                log.info("peer %s: BFD %s", change.peer, change.state)
                self._core.bfd_changed(change.peer, change.state)
            self._moved()
        return "it closed its control socket"

    async def _configure(self, answers: asyncio.StreamReader, terminal: asyncio.StreamWriter) -> None:
        wanted = self._wanted()
        for line in commands(self._running, wanted):
            terminal.write(line.encode() + b"\0")
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await answers.readuntil(_ANSWER_END)
                status = await answers.readexactly(1)
            if status != b"\0":
                words = answer.removesuffix(_ANSWER_END).decode("utf-8", "replace").strip()
                log.warning("bfdd refuses %r: %s", line, words or f"status {status[0]}")
        self._running = wanted


async def _connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as soon as somebody listens at ``path``; the caller's patience is the limit."""
    while True:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return await asyncio.open_unix_connection(path)
        await asyncio.sleep(0.05)
