"""Keeps one mirror up to date, over one connection after the other.

::

    no position ── WatchList (or list) ──> synced ── watch ──> ended ── pause ──> watch from the position
         ^                                              │
         └── 410: the server has forgotten the position ┴── anything else wrong: back off, try again

What was known stays in force until a complete new state has come in, so nothing of this is seen from outside but the
age of what is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from announcer.sources.kube.access import Access
from announcer.sources.kube.list_watch import ListWatch
from announcer.sources.kube.mirror import Delta, Mirror
from announcer.sources.kube.pace import PollPace, WatchPace
from announcer.sources.kube.patience import Timing, Trouble
from announcer.sources.kube.resources import Resource
from announcer.sources.kube.standing import Standing
from announcer.sources.kube.wire import WireError

log = logging.getLogger(__name__)


class Reflector:
    """Follows one resource. ``changed`` is told of every change, with what it changed."""

    def __init__(
        self,
        resource: Resource,
        access: Access,
        changed: Callable[[list[Delta]], None],
        timing: Timing,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``clock`` and ``sleep`` are those of the running loop."""
        self.resource = resource
        self.mirror = Mirror()
        self._access = access
        self._changed = changed
        self._timing = timing
        self._clock = clock
        self._sleep = sleep
        self._standing = Standing(timing, clock)
        self._list_watch = ListWatch(resource, access, self.mirror, self._standing, timing, changed)
        self._poll = PollPace(timing, sleep) if resource.polled else None
        self._pace = self._poll or WatchPace(timing, sleep)

    @property
    def trouble(self) -> str:
        """Why nothing comes, in words, if that has lasted."""
        return self._standing.trouble

    @property
    def answered(self) -> bool:
        """True once the first attempt has ended, well or not."""
        return self._standing.answered

    @property
    def stale_seconds(self) -> float:
        """Since when nothing is heard, in seconds; 0 while the watch stands."""
        standing = self._standing
        well = not standing.in_trouble if self._poll is not None and self.mirror.synced else standing.live
        return 0.0 if well else standing.silent_seconds

    def look_closely(self, wanted: bool) -> bool:
        """Of a resource that is polled: look often while ``wanted``. True if the last complete look is fresh enough."""
        return self._poll is not None and self._poll.look_closely(wanted, self._clock())

    def look_again(self) -> None:
        """At a resource that is polled, soon."""
        if self._poll is not None:
            self._poll.look_again()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            tries = AsyncRetrying(
                retry=retry_if_exception_type(Trouble),
                wait=self._timing.back_off,
                before_sleep=self._note_trouble,
                sleep=self._sleep,
                reraise=True,
            )
            async for attempt in tries:
                with attempt:
                    await self._attempt()
            await self._pace.rest()

    async def _attempt(self) -> None:
        """From a new connection to its end. Raises :class:`Trouble`, unless that was orderly or all was well before."""
        began = self._clock()
        try:
            async with self._access.connect(self._timing) as connection:
                if self._poll is None:
                    await self._list_watch.follow(connection)
                else:
                    await self._list_watch.look(connection)
                    self._poll.complete(self._clock(), len(self.mirror.objects))
        except (Trouble, WireError, aiohttp.ClientError, OSError, TimeoutError) as error:
            if isinstance(error, WireError) and self._list_watch.distrust_encoding():
                log.warning("%s: protobuf that cannot be read, going on with JSON: %s", self.resource.name, error)
            if self._standing.live and self._clock() - began >= self._timing.steady:
                log.info("%s: the watch broke, going on: %s", self.resource.name, _words(error))
            elif isinstance(error, Trouble):
                raise
            else:
                raise Trouble(_words(error)) from error
        finally:
            self._standing.live = False
            self.mirror.abandon()

    def _note_trouble(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        problem = error.problem if isinstance(error, Trouble) else str(error)
        if self._standing.fails(problem):
            self._changed([])
        log.debug("%s: %s", self.resource.name, problem)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    return str(error) or type(error).__name__
