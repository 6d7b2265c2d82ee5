"""``lockstep speaker``: runs ExaBGP, holds the Adj-RIB-Out, serves the agent. Outlives the agent.

::

    agent <── Server <──> Speaker ──> Core (pure) <── Link <──> relay <──> ExaBGP
                             │
                             └── Receipts: asks the kernel what the peers' TCP has received
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import logging.handlers
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

from announcer.model.errors import TargetError
from bgpd.addresses import sibling
from bgpd.bfdd import Bfd
from bgpd.clock import ClockWatch
from bgpd.core import Core, Now
from bgpd.hand import Hand
from bgpd.link import Cause, Link, now
from bgpd.liveness import JUDGE_SECONDS, Life, Liveness
from bgpd.publication import Publication
from bgpd.receipts import Receipts
from bgpd.secrecy import leave_no_core
from bgpd.server import Server, remove_socket
from bgpd.settings import SpeakerSettings
from bgpd.watch import LOOK_SECONDS, Watch

log = logging.getLogger("lockstep.speaker")

_LOG_BYTES = 1 << 20


class Speaker:
    """Everything of one state folder. ``run`` it once."""

    def __init__(self, settings: SpeakerSettings) -> None:
        """Nothing runs yet."""
        self.settings = settings
        self.core = Core(sibling)
        self._kick = asyncio.Event()
        self._child_moved = False
        self._moves: list[asyncio.Future[None]] = []
        self._seen = -1
        self._told = -1
        self.link = Link(settings, self.core, self._kick.set)
        self.hand = Hand(settings, self.core, self.link, self.until, self._give)
        self._server = Server(Publication(self.core).answer, self.hand.apply)
        self._bfd = Bfd(settings.state_dir, self.core, self._kick.set)
        self._receipts = Receipts()
        self._watch = Watch()
        self._clock = ClockWatch()
        self._liveness = Liveness(silence=settings.silence, stall=settings.stall)
        self._look_at = self._judge_at = math.inf  # CLOCK_MONOTONIC seconds

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then withdraw everything, wait until that was received, and end. Returns 0."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGCHLD, self._child_changed)
        self.settings.forwarding_mark.unlink(missing_ok=True)  # an agent has to say it of this start
        await self.link.listen()
        await self._server.listen(self.settings.socket)
        with contextlib.suppress(OSError):  # it is said when one is needed
            await self.link.engine.prepare()
        log.info("the speaker serves %s", self.settings.socket)
        jobs = (self._pump(), self.link.run(), self.hand.retry(), self._bfd.run())
        tasks = [asyncio.create_task(job) for job in jobs]
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a task that ended by itself is a bug; raise what it raised
        await self._leave()
        for path in (self.settings.socket, self.settings.relay_socket):
            remove_socket(path)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.link.close()
        await self._server.close()
        self._receipts.close()
        self._watch.close()
        return 0

    async def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``true()``, looked at after every change. False if it is not within ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not true():
                    moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._moves.append(moved)
                    await moved
                return True
        return true()

    async def _pump(self) -> None:
        """Give the engine what it may have, learn what the peers have received, look after all of them, tell who waits.

        All in one place, so that what is due at about the same time costs one waking.
        """
        self._look_at = now().monotonic + LOOK_SECONDS
        while True:
            moment = now()
            self._look(moment)
            self._watch_engine(moment)
            self.link.write(self.core.commands(moment))
            self._expect_answer(moment)
            waiting = self._receipts.collect(self.core, self.link.engine.pid)
            if self.core.version != self._seen:
                self._seen = self.core.version
                self._bfd.follow()
                if self.core.news != self._told:
                    self._told = self.core.news
                    self._server.changed()
                moves, self._moves = self._moves, []
                for moved in moves:
                    if not moved.done():
                        moved.set_result(None)
            due = min(self._look_at, self._judge_at) - moment.monotonic
            await self._kicked(min(waiting, self.core.pause(moment), due))

    def _give(self) -> None:
        """Give the engine what it may have now. The rest is the pump's, which has its turn later."""
        self.link.write(self.core.commands(now()))
        self._kick.set()

    async def _kicked(self, seconds: float) -> None:
        """Wait for a kick, at most so long."""
        end = asyncio.get_running_loop().call_later(seconds, self._kick.set)
        await self._kick.wait()
        end.cancel()
        self._kick.clear()

    def _look(self, moment: Now) -> None:
        """If it is time, or time for a sign of life: at the clock, and at the peers that have no session."""
        if moment.monotonic < self._look_at and self.core.pause(moment) > 0.0:
            return
        self._look_at = moment.monotonic + LOOK_SECONDS
        if self._clock.look():
            self.core.clock_steps = self._clock.steps
            self.core.version += 1
        self._watch.look(self.core, self.link.engine.pid, moment)

    def _child_changed(self) -> None:
        """The engine was stopped, goes on, or has ended; or another child has."""
        self._child_moved = True
        self._kick.set()

    def _watch_engine(self, moment: Now) -> None:
        """Judge it now and then while it owes an answer, and when the kernel says that something has become of it."""
        if self._child_moved or moment.monotonic >= self._judge_at:
            self._child_moved, self._judge_at = False, math.inf
            self._judge(moment)

    def _expect_answer(self, moment: Now) -> None:
        """An engine that answers in time is not judged."""
        if self.core.question is None:
            self._judge_at = math.inf
            self.core.engine_silent(False)
        elif self._judge_at == math.inf:
            self._judge_at = moment.monotonic + JUDGE_SECONDS

    def _judge(self, moment: Now) -> None:
        pid = self.link.engine.pid
        life = self._liveness.look(pid, self.core.question, busy=self.core.held, now=moment.monotonic)
        self.core.engine_silent(life is Life.SILENT)
        if life is Life.STOPPED:
            log.warning("ExaBGP (process %s) was stopped by somebody; it is told to go on", pid)
            self.link.engine.resume()
            self.core.engine_resumed()
        elif life is Life.STUCK:
            problem = f"ExaBGP has owed {self.core.owed} answers for {self._liveness.stalled:.1f} s"
            self.link.fail(Cause.STALLED, problem)

    async def _leave(self) -> None:
        """A planned exit: peers are told before sessions end, or with graceful restart they would keep it all."""
        log.info("planned exit: withdrawing everything")
        await self.hand.close()
        told = [peer for peer in self.core.peers.values() if peer.established and peer.rib.holds_any]
        for peer in self.core.peers.values():
            peer.rib.unwant_all()
        self._kick.set()
        if not await self.until(self.core.nothing_held, self.settings.exit_deadline):
            log.error("not every peer has received its withdrawals in %.1f s", self.settings.exit_deadline)
        await self.until(lambda: not any(peer.established for peer in told), self.settings.exit_settle)


def _lock(path: Path) -> int:
    """Take the lock of the state folder for the life of this process. Raises TargetError if another speaker has it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TargetError(f"lock {path}", detail="another speaker runs in this state folder") from None
    return descriptor


def set_up_log(log_file: Path | None) -> None:
    """Log to ``log_file``, at most 2 MiB in two files, or to standard error."""
    handler: logging.Handler = (
        logging.handlers.RotatingFileHandler(log_file, maxBytes=_LOG_BYTES, backupCount=1)
        if log_file
        else logging.StreamHandler()
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger("lockstep")
    root.handlers = [handler]
    root.setLevel(logging.INFO)


async def run_speaker(settings: SpeakerSettings) -> int:
    """Run the speaker of ``settings.state_dir`` until SIGTERM or SIGINT. Returns the exit code, 1 if it cannot run.

    Only one per state folder: a second one ends with 1 and says why.
    """
    os.umask(0o077)  # sockets, log and configuration are for this user only
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    set_up_log(settings.log_file)
    try:
        leave_no_core()
    except OSError as error:
        log.warning("a core dump of this process would hold passwords: %s", error)
    try:
        descriptor = _lock(settings.lock)
    except TargetError as error:
        log.error("%s", error)
        return 1
    try:
        return await Speaker(settings).run()
    finally:
        os.close(descriptor)
