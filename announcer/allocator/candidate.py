"""One candidate of the election, for as long as the process runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from announcer.allocator.api import Conflict, get_lease, put_lease
from announcer.allocator.election import Election, Move
from announcer.model.objects import ObjectKey
from announcer.sources.kube.access import Access, Connection
from announcer.sources.kube.patience import Timing, Trouble

log = logging.getLogger(__name__)

#: A connection is used for so many seconds: then credentials are looked at again.
_CONNECTION_SECONDS = 60.0


def stamp() -> str:
    """The wall clock as a Lease has it (MicroTime)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Candidate:
    """Tries to lead, and to stay the leader. ``changed`` is called when it comes to lead, and when it leads no more."""

    def __init__(
        self,
        election: Election,
        access: Access,
        lease: ObjectKey,
        changed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock``: seconds that never go back."""
        self.election = election
        self._access = access
        self._lease = lease
        self._changed = changed
        self._clock = clock
        self._led = False
        self.trouble = ""

    @property
    def leads(self) -> bool:
        """True if it is safe to write now."""
        return self.election.leads(self._clock())

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                async with self._access.connect(Timing()) as connection:
                    until = self._clock() + _CONNECTION_SECONDS
                    while self._clock() < until:
                        await self._try(connection)
                        self.trouble = ""
                        self._tell()
                        await asyncio.sleep(self.election.terms.retry)
            except Trouble as error:
                if "401" in error.problem:
                    self._access.refused()
                self._note(error.problem)
                self._tell()
                await asyncio.sleep(self.election.terms.retry)

    async def resign(self) -> None:
        """Give the Lease up, so that another need not wait until it is over. What fails here only costs that time."""
        spec = self.election.resignation(stamp())
        self.election.lost()
        if spec is None:
            return
        try:
            async with self._access.connect(Timing()) as connection:
                now = await get_lease(connection, self._lease)
                if now is not None and now.spec.holder_identity == self.election.identity:
                    await put_lease(connection, self._lease, spec, now)
        except (Trouble, Conflict) as error:
            log.info("the Lease could not be given up", extra={"problem": str(error)})

    async def _try(self, connection: Connection) -> None:
        lease = await get_lease(connection, self._lease)
        if self.election.look(lease, self._clock()) is Move.WAIT:
            return
        sent = self._clock()
        try:
            made = await put_lease(connection, self._lease, self.election.claim(stamp()), lease)
        except Conflict:
            # Somebody else was faster, or our own earlier claim arrived without our hearing of it: look again.
            return
        self.election.won(made, sent, self._clock())

    def _tell(self) -> None:
        if self.leads != self._led:
            self._led = self.leads
            log.info("leads now" if self._led else "leads no more", extra={"holder": self.election.holder})
            self._changed()

    def _note(self, problem: str) -> None:
        if problem != self.trouble:
            log.warning("the Lease cannot be looked at", extra={"problem": problem})
        self.trouble = problem
