"""Putting one allocator together, and running it until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from announcer.allocator.candidate import Candidate
from announcer.allocator.election import Election
from announcer.allocator.metrics import AllocatorCollector, Sight
from announcer.allocator.settings import AllocatorSettings
from announcer.allocator.view import View
from announcer.allocator.worker import Worker
from announcer.snapshot import ConfigState
from announcer.sources.kube.access import Access, ClusterAccess
from announcer.sources.kube.mirror import Delta
from announcer.sources.kube.patience import Timing
from announcer.sources.kube.reflector import Reflector
from announcer.sources.kube.resources import SERVICES, config_map, other_nodes
from announcer.status.http import Request, Response, json_response, listen


class Allocator:
    """All parts of one allocator."""

    def __init__(self, settings: AllocatorSettings, access: Access | None = None) -> None:
        """``access`` None: by the kubeconfig of the settings, or as a pod."""
        access = access or ClusterAccess(kubeconfig=settings.kubeconfig)
        timing = Timing()
        resources = (SERVICES, other_nodes(""), config_map(settings.config_map))
        self._reflectors = [Reflector(resource, access, self._changed, timing) for resource in resources]
        self._view = View(*(reflector.mirror for reflector in self._reflectors))
        election = Election(settings.identity, settings.terms)
        self._candidate = Candidate(election, access, settings.lease, self._wake)
        self._worker = Worker(self._view, access, lambda: self._candidate.leads, config_grace=settings.config_grace)
        self._registry = CollectorRegistry()
        self._registry.register(AllocatorCollector(self.look, aliases=settings.metrics_aliases))
        self._settings = settings

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then give the Lease up. Raises ``ListenError``."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self._serving(), asyncio.TaskGroup() as group:
            work = [self._worker.run(), self._candidate.run(), *(reflector.run() for reflector in self._reflectors)]
            tasks = [group.create_task(item) for item in work]
            await stop.wait()
            for task in tasks:
                task.cancel()
        # Nothing writes any more.
        await self._candidate.resign()

    def look(self) -> Sight:
        """What can be seen of it now."""
        return Sight(
            leads=self._candidate.leads,
            synced=self._view.synced,
            config=self._view.config,
            stale=self._view.config_view.state is not ConfigState.APPLIED,
            stale_seconds=max(reflector.stale_seconds for reflector in self._reflectors),
            assignments=self._worker.assignments,
            writes=self._worker.writes,
            dropped_events=self._worker.dropped_events,
        )

    def lacks(self) -> list[str]:
        """What is missing before it can do its work, whether it leads or not; empty if nothing is."""
        found = [
            f"{reflector.resource.name} was not read yet: {reflector.trouble or 'no answer'}"
            for reflector in self._reflectors
            if not reflector.mirror.synced
        ]
        if not found and self._view.config is None:
            found.append(f"the bgp-config is {self._view.config_view.state.value}")
        if self._candidate.trouble:
            found.append(f"the Lease: {self._candidate.trouble}")
        return found

    async def _answer(self, request: Request) -> Response:
        text = "text/plain; charset=utf-8"
        match request.path:
            case "/healthz":
                return Response(200, b"ok\n", text)
            case "/readyz":
                lacks = self.lacks()
                return Response(503 if lacks else 200, ("\n".join(lacks) or "ok").encode() + b"\n", text)
            case "/metrics":
                return Response(200, generate_latest(self._registry), CONTENT_TYPE_LATEST)
        return json_response({"error": f"there is nothing at {request.path}"}, 404)

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        servers = [await listen(address, self._answer) for address in self._settings.listen]
        try:
            yield
        finally:
            for server in servers:
                server.close()

    def _changed(self, _: list[Delta]) -> None:
        self._wake()

    def _wake(self) -> None:
        self._worker.news.set()
