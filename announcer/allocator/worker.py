"""The allocator's work: whenever something changed, decide for all Services and write what differs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from announcer.allocator.api import Conflict, patch_status, post_event
from announcer.allocator.events import Budget, Word, event, word_of
from announcer.allocator.view import View
from announcer.allocator.writes import status_patch
from announcer.ipam import Assignment, Code, Outcome, assign
from announcer.model.objects import ObjectKey, Service
from announcer.sources.kube.access import Access, Connection
from announcer.sources.kube.patience import Timing, Trouble

log = logging.getLogger(__name__)

#: Writes on their way at once.
_PARALLEL = 8
#: Between two rounds: what comes in bursts is decided together.
_PAUSE = 0.05
#: After a write that failed, doubling up to the second number.
_RETRY = 0.5, 30.0


class Worker:
    """``news`` is set by whoever knows that something changed; ``leads`` says whether writing is allowed, each time."""

    def __init__(
        self,
        view: View,
        access: Access,
        leads: Callable[[], bool],
        *,
        config_grace: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``config_grace`` in seconds, see :class:`announcer.allocator.settings.AllocatorSettings`."""
        self.news = asyncio.Event()
        self.assignments: dict[ObjectKey, Assignment] = {}
        self.writes: Counter[str] = Counter()
        self.dropped_events = 0
        self._view = view
        self._access = access
        self._leads = leads
        self._grace = config_grace
        self._clock = clock
        self._configured_at = clock()
        self._budget = Budget()
        self._told: dict[ObjectKey, Word] = {}
        self._failures = 0
        self._wake_at: float | None = None

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self._wait()
            began = self._clock()
            if self._view.synced:
                await self._round()
            # Deciding for many Services takes time; others need the processor too.
            await asyncio.sleep(max(_PAUSE, self._clock() - began))

    async def _wait(self) -> None:
        patience = None if self._wake_at is None else max(0.0, self._wake_at - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.news.wait()
        self.news.clear()
        self._wake_at = None

    def decide(self) -> list[tuple[Service, int, Assignment]]:
        """Decide for all Services; those of which the status has to change."""
        if self._view.read_config():
            self._configured_at = self._clock()
        config = self._view.config
        if config is None:
            self.assignments = {}
            return []
        services = self._view.services()
        self.assignments = assign(config, (item for item, _ in services.values()), self._view.reserved())
        self._told = {key: word for key, word in self._told.items() if key in self.assignments}
        return [
            (*services[key], assignment) for key, assignment in self.assignments.items() if self._is_due(assignment)
        ]

    def _is_due(self, assignment: Assignment) -> bool:
        """False while it may still turn out that the configuration was a mistake."""
        due = self._configured_at + self._grace
        if assignment.code is not Code.NOT_ALLOWED_BY_CONFIG or self._clock() >= due:
            return True
        self._wake_at = due if self._wake_at is None else min(due, self._wake_at)
        return False

    async def _round(self) -> None:
        due = self.decide()
        if not self._leads() or not due:
            return
        now = _stamp()
        work = [
            (service, version, assignment, patch)
            for service, version, assignment in due
            if (patch := status_patch(service, version, assignment, now)) is not None
            or assignment.outcome is Outcome.FOREIGN
        ]
        work = [item for item in work if item[3] is not None or self._told.get(item[0].key) != word_of(item[2])]
        if not work:
            return
        try:
            async with self._access.connect(Timing()) as connection:
                gate = asyncio.Semaphore(_PARALLEL)
                results = await asyncio.gather(*(self._write(connection, gate, *item) for item in work))
        except Trouble as error:
            results = [error.problem]
        self._plan_retry([problem for problem in results if problem])

    async def _write(
        self,
        connection: Connection,
        gate: asyncio.Semaphore,
        service: Service,
        version: int,
        assignment: Assignment,
        patch: dict[str, object] | None,
    ) -> str:
        """Write one status and tell of it; what went wrong, or an empty text."""
        async with gate:
            if not self._leads():
                return ""
            try:
                if patch is not None:
                    self._view.wrote(await patch_status(connection, service, patch))
                    self.writes["ok"] += 1
                    log.info(
                        "wrote a status",
                        extra={
                            "service": str(service.key),
                            "outcome": str(assignment.outcome),
                            "addresses": [str(address) for address in assignment.addresses],
                            "code": str(assignment.code or ""),
                        },
                    )
                await self._tell(connection, service, assignment)
            except Conflict:
                # The Service has changed; the watch brings it, and with it the next round.
                self.writes["conflict"] += 1
                self._wake_in(_RETRY[0])
            except Trouble as error:
                self.writes["error"] += 1
                return error.problem
        return ""

    async def _tell(self, connection: Connection, service: Service, assignment: Assignment) -> None:
        word = word_of(assignment)
        if word is None or self._told.get(service.key) == word:
            return
        self._told[service.key] = word
        if not self._budget.take(self._clock()):
            self.dropped_events += 1
            return
        try:
            await post_event(connection, event(service, word, _stamp()))
        except (Conflict, Trouble) as error:
            # What is written counts; an Event is a courtesy.
            log.info("an Event was not taken", extra={"service": str(service.key), "problem": str(error)})

    def _plan_retry(self, problems: list[str]) -> None:
        if not problems:
            self._failures = 0
            return
        self._failures += 1
        wait = min(_RETRY[0] * 2**self._failures, _RETRY[1])
        self._wake_in(wait)
        log.warning("writes failed", extra={"count": len(problems), "problem": problems[0], "next_try_seconds": wait})

    def _wake_in(self, seconds: float) -> None:
        at = self._clock() + seconds
        self._wake_at = at if self._wake_at is None else min(at, self._wake_at)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
