"""What is said over one connection: list, or WatchList, then watch. All of it goes into a mirror."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import takewhile

import aiohttp
import msgspec

from announcer.sources.kube.access import Access, Connection
from announcer.sources.kube.mirror import Delta, Mirror
from announcer.sources.kube.patience import Timing, Trouble
from announcer.sources.kube.resources import Resource
from announcer.sources.kube.standing import Standing
from announcer.sources.kube.wire import (
    MESSAGES,
    Encoding,
    StatusObject,
    WireError,
    WireEvent,
    accept,
    encoding_of,
    read_object,
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


class ListWatch:
    """Reads one resource, over one connection after the other. What it learned of the server it keeps."""

    def __init__(
        self,
        resource: Resource,
        access: Access,
        mirror: Mirror,
        standing: Standing,
        timing: Timing,
        changed: Callable[[list[Delta]], None],
    ) -> None:
        """``changed`` is told of every change, and with an empty list of a change of the standing."""
        self._resource = resource
        self._access = access
        self._mirror = mirror
        self._standing = standing
        self._timing = timing
        self._changed = changed
        self._watch_list = True
        self._protobuf = True
        self._older_since: float | None = None

    async def follow(self, connection: Connection) -> None:
        """From where the mirror stands, or with a new complete state, until the watch ends.

        Raises :class:`Trouble`, :class:`WireError`, and what aiohttp raises.
        """
        if not self._mirror.position:
            if self._watch_list and await self._try_watch_list(connection):
                return
            await self._list(connection, {"limit": str(_PAGE)})
        await self._watch(connection, {"resourceVersion": self._mirror.position})

    async def look(self, connection: Connection) -> None:
        """The complete state once, as the server has it at hand. Raises what :meth:`follow` does."""
        await self._list(connection, {"resourceVersion": "0"})

    async def _try_watch_list(self, connection: Connection) -> bool:
        """A watch that begins with the whole state (KEP-3157). False if this server does not offer it."""
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": ""}
        self._watch_list = await _is_offered(connection)
        if not self._watch_list:
            return False
        self._mirror.begin()
        await self._watch(connection, query)
        return self._watch_list

    async def _watch(self, connection: Connection, query: dict[str, str]) -> None:
        options = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(self._timing.watch_seconds())}
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timing.connect, sock_read=self._timing.quiet)
        query = {**self._resource.selectors, **options, **query}
        accepted = accept(self._resource.kind, watch=True, protobuf=self._protobuf)
        async with connection.get(self._resource.path, query, timeout, accept=accepted) as answer:
            if self._mirror.staging and answer.status in (400, 422):
                self._watch_list = False  # the feature is switched off there
                self._mirror.abandon()
                return
            await self._check(answer)
            if not self._mirror.staging:
                self._is_well()
            began = self._standing.hear()
            async for event in self._encoding(answer).events(answer.content):
                heard = self._standing.hear()
                self._take(event)
                if heard - began > _SLICE:
                    await asyncio.sleep(0)
                    began = self._standing.hear()
        if self._mirror.staging:
            raise Trouble("the connection ended before the state was complete")

    def distrust_encoding(self) -> bool:
        """What came could not be read: ask for JSON from now on. False if it was JSON already."""
        asked, self._protobuf = self._protobuf, False
        return asked and self._resource.kind in MESSAGES

    def _encoding(self, answer: aiohttp.ClientResponse) -> Encoding:
        return encoding_of(answer.content_type, self._resource.kind)

    def _take(self, event: WireEvent) -> None:
        match event.type:
            case "ADDED" | "MODIFIED" | "DELETED":
                deleted = event.type == "DELETED"
                found = read_object(event.object, self._resource, known=not deleted)
                late = self._mirror.is_late(found)
                wrong = found.key in self._mirror.problems
                self._report(self._mirror.take(found, deleted=deleted), wrong=wrong or bool(found.problems))
                if late:
                    # A server never does that. What it may have left out nobody knows, so everything is read again.
                    self._mirror.forget_position()
                    raise Trouble(f"an event came late: {found.key}, version {found.version}")
            case "BOOKMARK":
                metadata = event.object.metadata()
                if self._mirror.staging and metadata.ends_initial_events:
                    self._complete(metadata.resource_version)
                elif not self._mirror.staging:
                    self._mirror.reach(metadata.resource_version)
            case "ERROR":
                self._raise(event.object.status())
            case _:
                log.warning("%s: unknown event %r", self._resource.name, event.type)

    async def _list(self, connection: Connection, query: dict[str, str]) -> None:
        """The whole state, in pages. One that has expired makes the whole list void."""
        self._mirror.begin()
        query = {**self._resource.selectors, **query}
        accepted = accept(self._resource.kind, watch=False, protobuf=self._protobuf)
        while True:
            async with connection.get(self._resource.path, query, accept=accepted) as answer:
                await self._check(answer)
                page = self._encoding(answer).page(await answer.read())
            self._standing.hear()
            for item in page.items:
                found = read_object(item, self._resource)
                if found.key.name != self._resource.except_name:
                    self._mirror.take(found)
            if not page.more:
                break
            query["continue"] = page.more
            await asyncio.sleep(0)
        self._complete(page.version)

    def _complete(self, version: str) -> None:
        if self._mirror.is_older(version):
            # It lags behind, or it was restored from a backup; in that case it goes on like this, and its word counts.
            now = self._standing.hear()
            self._older_since = now if self._older_since is None else self._older_since
            if now - self._older_since < self._timing.disbelief:
                raise Trouble(f"the API server offers a state (version {version}) older than what it told before")
        self._older_since = None
        deltas = self._mirror.complete(version)
        self._is_well()
        self._report(deltas)

    def _report(self, deltas: list[Delta], *, wrong: bool = False) -> None:
        if deltas or wrong:
            self._changed(deltas)

    def _is_well(self) -> None:
        if self._standing.is_well():
            self._changed([])

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 200:
            return
        if answer.status == 401:
            self._access.refused()
        status = self._encoding(answer).status(await answer.content.read(1 << 16))
        self._raise(
            msgspec.structs.replace(status, code=answer.status), retry_after=answer.headers.get("Retry-After", "")
        )

    def _raise(self, status: StatusObject, *, retry_after: str = "") -> None:
        if status.code == 410 or status.reason in ("Expired", "Gone"):
            self._mirror.forget_position()
        words = " ".join(part for part in (str(status.code or ""), status.reason, status.message[:300]) if part)
        raise Trouble(words or "an error without words", retry_after=_seconds(retry_after))


async def _is_offered(connection: Connection) -> bool:
    """True if the server knows WatchList (1.27 and later; whether it is switched on, its answer will tell).

    An older one would ignore the parameters, and nothing would ever say that the state is complete.
    """
    async with connection.get("/version", {}) as answer:
        if answer.status != 200:
            return True
        try:
            version = msgspec.json.decode(await answer.read(), type=_ServerVersion)
        except msgspec.MsgspecError as error:
            raise WireError(f"/version: {error}") from error
    minor = "".join(takewhile(str.isdigit, version.minor))
    return int(version.major or 1) > 1 or int(minor or 0) >= _WATCH_LIST_SINCE


def _seconds(retry_after: str) -> float:
    """Of a Retry-After header; a date in it is not looked at."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
