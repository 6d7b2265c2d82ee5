"""A small API server that does what a test tells it, for faults that a real one does not have on demand.

It is calibrated: ``test_follow.py`` runs the same scenarios against this one and against a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from tests.kube.api import Manifest, place_of

Key = tuple[str, str]

#: A real one sends bookmarks about so often, in seconds.
BOOKMARK_SECONDS = 60.0


class Request:
    """What was asked: ``kind``, and whether it was a watch; ``time`` is the loop's."""

    def __init__(self, kind: str, query: dict[str, str], time: float, path: str, accept: str = "") -> None:
        self.accept = accept
        self.kind = kind
        self.query = query
        self.time = time
        self.path = path

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def is_list(self) -> bool:
        """True if the whole state is asked for, as a list or as the beginning of a watch."""
        return bool(self.kind) and (not self.is_watch or "sendInitialEvents" in self.query)


Fault = Callable[[Request], web.Response | None]


def refusal(code: int, reason: str = "", **headers: str) -> web.Response:
    """An answer that is none."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": "told to",
    }
    return web.json_response(body, status=code, headers=headers)


class _Watcher:
    """One open watch."""

    def __init__(self, kind: str, select: Callable[[Manifest], bool], transport: asyncio.Transport) -> None:
        self.kind = kind
        self.select = select
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.transport = transport


class ScriptedServer:
    """Holds objects, and answers list and watch. All faults are off at first."""

    def __init__(self) -> None:
        """``fault`` may answer in place of the server; ``flowing`` unset: nothing is sent on watches that stand."""
        self.fault: Fault = lambda _: None
        self.watch_list = True
        self.minor = "36"
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.token = ""
        self.compacted = 0
        self.requests: list[Request] = []
        self.created: list[Manifest] = []
        self._revision = 1000
        self._objects: dict[str, dict[Key, Manifest]] = {}
        self._log: list[tuple[int, str, str, Manifest]] = []
        self._watchers: list[_Watcher] = []
        self._runner: web.AppRunner | None = None
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ScriptedServer]:
        """Listen on loopback."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Nobody listens any more."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def put(self, manifest: Manifest) -> int:
        """Create or change an object; returns its version."""
        kind, key = manifest["kind"], _key(manifest)
        known = key in self._objects.get(kind, {})
        made = copy.deepcopy(manifest)
        self._revision += 1
        made["metadata"]["resourceVersion"] = str(self._revision)
        self._objects.setdefault(kind, {})[key] = made
        self._tell("MODIFIED" if known else "ADDED", made)
        return self._revision

    def delete(self, kind: str, namespace: str, name: str) -> int:
        """Delete an object; returns the version of its end."""
        gone = self._objects[kind].pop((namespace, name))
        self._revision += 1
        gone["metadata"]["resourceVersion"] = str(self._revision)
        self._tell("DELETED", gone)
        return self._revision

    def silently(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, and tell nobody: the DELETE is lost."""
        self._objects[kind].pop((namespace, name))
        self._revision += 1

    def emit(self, event: str, manifest: Manifest, version: int) -> None:
        """Send an event to whoever watches that kind, whatever is true."""
        made = copy.deepcopy(manifest)
        made["metadata"]["resourceVersion"] = str(version)
        self._send(manifest["kind"], _line(event, made), made)

    def emit_raw(self, kind: str, data: bytes) -> None:
        """Send bytes to whoever watches that kind."""
        self._send(kind, data, None)

    def cut(self, kind: str = "") -> None:
        """Reset the connections of all watches."""
        for watcher in list(self._watchers):
            if kind in ("", watcher.kind):
                watcher.transport.abort()
                self._watchers.remove(watcher)

    def end_watches(self) -> None:
        """End all watches in an orderly way."""
        for watcher in self._watchers:
            watcher.lines.put_nowait(None)

    def forget(self) -> None:
        """No version from before is known any more, and the watches that stand are told."""
        self.compacted = self._revision
        for watcher in list(self._watchers):
            watcher.lines.put_nowait(_gone())
            watcher.lines.put_nowait(None)

    def rewind(self, revision: int) -> None:
        """As after a restore from a backup: versions count from ``revision`` on again."""
        self._revision = revision
        for objects in self._objects.values():
            for item in objects.values():
                item["metadata"]["resourceVersion"] = str(revision)

    @property
    def revision(self) -> int:
        """The present version."""
        return self._revision

    def _tell(self, event: str, made: Manifest) -> None:
        self._log.append((self._revision, event, made["kind"], copy.deepcopy(made)))
        self._send(made["kind"], _line(event, made), made)

    def _send(self, kind: str, line: bytes, made: Manifest | None) -> None:
        for watcher in self._watchers:
            if watcher.kind == kind and (made is None or watcher.select(made)):
                watcher.lines.put_nowait(line)

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        if self.token and http.headers.get("Authorization") != f"Bearer {self.token}":
            return refusal(401, "Unauthorized")
        if http.path == "/version":
            return web.json_response({"major": "1", "minor": self.minor})
        kind, namespace = place_of(http.path)
        request = Request(
            kind, dict(http.query), asyncio.get_running_loop().time(), http.path, http.headers.get("Accept", "")
        )
        self.requests.append(request)
        wrong = self.fault(request)
        if wrong is not None:
            return wrong
        if http.method == "POST":
            self.created.append(await http.json())
            return web.json_response(self.created[-1], status=201)
        select = _selector(namespace, request.query)
        if request.is_watch:
            return await self._watch(http, request, select)
        return self._list(request, select)

    def _list(self, request: Request, select: Callable[[Manifest], bool]) -> web.Response:
        items = [item for item in self._objects.get(request.kind, {}).values() if select(item)]
        begin = int(request.query.get("continue", "0"))
        limit = int(request.query.get("limit", "0")) or len(items)
        more = str(begin + limit) if begin + limit < len(items) else ""
        metadata = {"resourceVersion": str(self._revision), **({"continue": more} if more else {})}
        bare = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
        return web.json_response({"metadata": metadata, "items": bare[begin : begin + limit]})

    async def _watch(
        self, http: web.Request, request: Request, select: Callable[[Manifest], bool]
    ) -> web.StreamResponse:
        initial = request.query.get("sendInitialEvents") == "true"
        if initial and not self.watch_list:
            return refusal(422, "Invalid")
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(http)
        transport = http.transport
        assert isinstance(transport, asyncio.Transport)
        watcher = _Watcher(request.kind, select, transport)
        since = request.query.get("resourceVersion", "")
        if initial:
            for item in self._objects.get(request.kind, {}).values():
                if select(item):
                    watcher.lines.put_nowait(_line("ADDED", item))
            watcher.lines.put_nowait(_bookmark(request.kind, self._revision, initial=True))
        elif int(since or 0) < self.compacted:
            await answer.write(_gone())
            return answer
        else:
            for revision, event, kind, made in self._log:
                if revision > int(since or 0) and kind == request.kind and select(made):
                    watcher.lines.put_nowait(_line(event, made))
        self._watchers.append(watcher)
        try:
            await self._pour(answer, watcher, float(request.query.get("timeoutSeconds", "1800")))
        finally:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
        return answer

    async def _pour(self, answer: web.StreamResponse, watcher: _Watcher, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            try:
                line = await asyncio.wait_for(watcher.lines.get(), min(BOOKMARK_SECONDS, end - loop.time()))
            except TimeoutError:
                line = _bookmark(watcher.kind, self._revision)
            await self.flowing.wait()
            if line is None:
                return
            await answer.write(line)


def _key(manifest: Manifest) -> Key:
    return manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def _line(event: str, manifest: Manifest) -> bytes:
    return json.dumps({"type": event, "object": manifest}).encode() + b"\n"


def _bookmark(kind: str, revision: int, *, initial: bool = False) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return _line("BOOKMARK", {"kind": kind, "apiVersion": "v1", "metadata": metadata})


def _gone() -> bytes:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    return _line("ERROR", status)


def _selector(namespace: str, query: dict[str, str]) -> Callable[[Manifest], bool]:
    """The selectors that are used: labels that exist or do not, and one name."""
    labels = [word for word in query.get("labelSelector", "").split(",") if word]
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")

    def select(manifest: Manifest) -> bool:
        metadata = manifest["metadata"]
        present = metadata.get("labels") or {}
        return (
            (not namespace or metadata.get("namespace", "") == namespace)
            and (not name or metadata["name"] == name)
            and all((word.lstrip("!") in present) is not word.startswith("!") for word in labels)
        )

    return select
