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
import random
import time
from collections.abc import Awaitable, Callable
from itertools import takewhile

import aiohttp
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from announcer.sources.kube.access import Access, Connection
from announcer.sources.kube.lines import lines_of
from announcer.sources.kube.mirror import Delta, Mirror
from announcer.sources.kube.patience import Timing, Trouble
from announcer.sources.kube.resources import Resource
from announcer.sources.kube.wire import (
    Envelope,
    StatusObject,
    read_event,
    read_metadata,
    read_object,
    read_page,
    read_status,
)

log = logging.getLogger(__name__)

#: Objects on one page of a list, where WatchList is not offered.
_PAGE = 500

#: Let others run after so many seconds of decoding.
_SLICE = 0.02


#: Minor version of Kubernetes 1 that first knew WatchList.
_WATCH_LIST_SINCE = 27


class _ServerVersion(msgspec.Struct, frozen=True):
    """The answer of ``/version``, as far as it matters."""

    major: str = "1"
    minor: str = ""


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
        self.trouble = ""
        self.answered = False
        self._access = access
        self._changed = changed
        self._timing = timing
        self._clock = clock
        self._sleep = sleep
        self._live = False
        self._heard = clock()
        self._troubled_since = 0.0
        self._told_at = 0.0
        self._watch_list = True
        self._older_since: float | None = None
        self._closely = asyncio.Event()
        self._completed: float | None = None

    @property
    def stale_seconds(self) -> float:
        """Since when nothing is heard, in seconds; 0 while the watch stands."""
        well = not self._troubled_since if self.resource.polled and self.mirror.synced else self._live
        return 0.0 if well else self._clock() - self._heard

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
            await self._rest()

    def look_closely(self, wanted: bool) -> bool:
        """Of a resource that is polled: look often while ``wanted``. True if the last complete look is fresh enough."""
        if not wanted:
            self._closely.clear()
            return False
        if not self._closely.is_set():
            self._completed = None  # only a look that begins from now on counts
            self._closely.set()
        limit = 3 * self._timing.close_pause(len(self.mirror.objects))
        return self._completed is not None and self._clock() - self._completed < limit

    async def _rest(self) -> None:
        """Until it is time for the next attempt, or until somebody wants a closer look than before."""
        if not self.resource.polled or self._closely.is_set():
            await self._sleep(self._pause())
            return
        sleeping = asyncio.ensure_future(self._sleep(self._pause()))
        woken = asyncio.ensure_future(self._closely.wait())
        try:
            await asyncio.wait((sleeping, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, woken):
                task.cancel()
            await asyncio.gather(sleeping, woken, return_exceptions=True)

    def _pause(self) -> float:
        if self.resource.polled and self._closely.is_set():
            return self._timing.close_pause(len(self.mirror.objects))
        if self.resource.polled:
            return random.uniform(0.8, 1.2) * self._timing.poll
        return random.uniform(*self._timing.pause)

    async def _attempt(self) -> None:
        """From a new connection to its end. Raises :class:`Trouble`, unless that was orderly or all was well before."""
        began = self._clock()
        try:
            async with self._access.connect(self._timing) as connection:
                await self._follow(connection)
        except (Trouble, aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            if self._live and self._clock() - began >= self._timing.steady:
                log.info("%s: the watch broke, going on: %s", self.resource.name, _words(error))
            elif isinstance(error, Trouble):
                raise
            else:
                raise Trouble(_words(error)) from error
        finally:
            self._live = False
            self.mirror.abandon()

    async def _follow(self, connection: Connection) -> None:
        if self.resource.polled:
            await self._list(connection, version="0")
            return
        if not self.mirror.position:
            if self._watch_list and await self._try_watch_list(connection):
                return
            await self._list(connection)
        await self._watch(connection, {"resourceVersion": self.mirror.position})

    async def _try_watch_list(self, connection: Connection) -> bool:
        """A watch that begins with the whole state (KEP-3157). False if this server does not offer it."""
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": ""}
        self._watch_list = await _is_offered(connection)
        if not self._watch_list:
            return False
        self.mirror.begin()
        await self._watch(connection, query)
        return self._watch_list

    async def _watch(self, connection: Connection, query: dict[str, str]) -> None:
        options = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(self._timing.watch_seconds())}
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timing.connect, sock_read=self._timing.quiet)
        query = {**self.resource.selectors, **options, **query}
        async with connection.get(self.resource.path, query, timeout) as answer:
            if self.mirror.staging and answer.status in (400, 422):
                self._watch_list = False  # the feature is switched off there
                self.mirror.abandon()
                return
            await self._check(answer)
            if not self.mirror.staging:
                self._is_well()
            began = self._clock()
            async for line in lines_of(answer.content):
                self._heard = self._clock()
                self._take(read_event(line))
                if self._heard - began > _SLICE:
                    await asyncio.sleep(0)
                    began = self._clock()
        if self.mirror.staging:
            raise Trouble("the connection ended before the state was complete")

    def _take(self, event: Envelope) -> None:
        match event.type:
            case "ADDED" | "MODIFIED" | "DELETED":
                deleted = event.type == "DELETED"
                found = read_object(event.object, self.resource, known=not deleted)
                late = self.mirror.is_late(found)
                wrong = found.key in self.mirror.problems
                self._report(self.mirror.take(found, deleted=deleted), wrong=wrong or bool(found.problems))
                if late:
                    # A server never does that. What it may have left out nobody knows, so everything is read again.
                    self.mirror.forget_position()
                    raise Trouble(f"an event came late: {found.key}, version {found.version}")
            case "BOOKMARK":
                metadata = read_metadata(event.object)
                if self.mirror.staging and metadata.ends_initial_events:
                    self._complete(metadata.resource_version)
                elif not self.mirror.staging:
                    self.mirror.reach(metadata.resource_version)
            case "ERROR":
                self._raise(read_status(event.object))
            case _:
                log.warning("%s: unknown event %r", self.resource.name, event.type)

    async def _list(self, connection: Connection, version: str = "") -> None:
        """The whole state in pages, without WatchList. A page that has expired makes the whole list void."""
        self.mirror.begin()
        query = {**self.resource.selectors, "limit": str(_PAGE)}
        if version:
            query = {**self.resource.selectors, "resourceVersion": version}
        while True:
            async with connection.get(self.resource.path, query) as answer:
                await self._check(answer)
                page = read_page(await answer.read())
            self._heard = self._clock()
            for item in page.items or ():
                found = read_object(item, self.resource)
                if found.key.name != self.resource.except_name:
                    self.mirror.take(found)
            if not page.metadata.more:
                break
            query["continue"] = page.metadata.more
            await asyncio.sleep(0)
        self._complete(page.metadata.resource_version)

    def _complete(self, version: str) -> None:
        if self.mirror.is_older(version):
            # It lags behind, or it was restored from a backup; in that case it goes on like this, and its word counts.
            now = self._clock()
            self._older_since = now if self._older_since is None else self._older_since
            if now - self._older_since < self._timing.disbelief:
                raise Trouble(f"the API server offers a state (version {version}) older than what it told before")
        self._older_since = None
        self._completed = self._clock()
        deltas = self.mirror.complete(version)
        self._is_well()
        self._report(deltas)

    def _report(self, deltas: list[Delta], *, wrong: bool = False) -> None:
        if deltas or wrong:
            self._changed(deltas)

    def _is_well(self) -> None:
        self._live = True
        self._heard = self._clock()
        self._troubled_since = 0.0
        news = bool(self.trouble) or not self.answered
        self.trouble = ""
        self.answered = True
        if news:
            self._changed([])

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 200:
            return
        if answer.status == 401:
            self._access.refused()
        self._raise(
            msgspec.structs.replace(read_status(await answer.content.read(1 << 16)), code=answer.status),
            retry_after=answer.headers.get("Retry-After", ""),
        )

    def _raise(self, status: StatusObject, *, retry_after: str = "") -> None:
        if status.code == 410 or status.reason in ("Expired", "Gone"):
            self.mirror.forget_position()
        words = " ".join(part for part in (str(status.code or ""), status.reason, status.message[:300]) if part)
        raise Trouble(words or "an error without words", retry_after=_seconds(retry_after))

    def _is_worth_telling(self, problem: str, now: float) -> bool:
        """A trouble that lasts; later another one, but not every word of a network that fails in many ways."""
        if not self.trouble:
            return now - self._troubled_since >= self._timing.grace
        return problem != self.trouble and now - self._told_at >= self._timing.ceiling

    def _note_trouble(self, state: RetryCallState) -> None:
        """Trouble that lasts is told; a connection that comes back at once is nobody's business."""
        error = state.outcome.exception() if state.outcome is not None else None
        problem = error.problem if isinstance(error, Trouble) else str(error)
        now = self._clock()
        self._troubled_since = self._troubled_since or now
        first = not self.answered
        self.answered = True
        if first or self._is_worth_telling(problem, now):
            self.trouble = problem
            self._told_at = now
            self._changed([])
        log.debug("%s: %s", self.resource.name, problem)


async def _is_offered(connection: Connection) -> bool:
    """True if the server knows WatchList (1.27 and later; whether it is switched on, its answer will tell).

    An older one would ignore the parameters, and nothing would ever say that the state is complete.
    """
    async with connection.get("/version", {}) as answer:
        if answer.status != 200:
            return True
        version = msgspec.json.decode(await answer.read(), type=_ServerVersion)
    minor = "".join(takewhile(str.isdigit, version.minor))
    return int(version.major or 1) > 1 or int(minor or 0) >= _WATCH_LIST_SINCE


def _seconds(retry_after: str) -> float:
    """Of a Retry-After header; a date in it is not looked at."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    return str(error) or type(error).__name__
