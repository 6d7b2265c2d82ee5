"""Carrying out a plan with the two hands.

Lanes are the only control flow: a step that fails or waits ends its lane for this round. Steps for the speaker are
collected and handed over together, because the engine is several times faster in bulk; a withdrawal is handed over
before the next thing is programmed, so that it never waits for work that it does not depend on. When many are collected
they are sent ahead: the engine works on them while more is programmed, and the first of thousands of routes do not wait
for the last VIP to be proved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from announcer.model.hands import BgpHand, DatapathHand
from announcer.model.observed import Outcome, OutcomeState
from announcer.model.steps import (
    Announce,
    AnyStep,
    AwaitQuiet,
    AwaitSent,
    ConfigureNeighbors,
    DeclareForwarding,
    Drain,
    EndOfRib,
    Shed,
    Withdraw,
)

_FOR_SPEAKER = (ConfigureNeighbors, DeclareForwarding, Announce, Withdraw, EndOfRib)
_WAITS = (AwaitSent, Drain, Shed, AwaitQuiet)

#: So many steps for the speaker are sent ahead.
_BULK = 512
#: After this many datapath steps the loop lets others run (status requests, watches).
_BREATHE_EVERY = 64


class Executor:
    """Carries out one plan. ``report`` is called with every outcome, in the order in which they come about."""

    def __init__(self, datapath: DatapathHand, bgp: BgpHand, report: Callable[[Outcome], None]) -> None:
        """``report`` must be quick: it runs between two steps."""
        self._datapath = datapath
        self._bgp = bgp
        self._report = report
        self._ended: set[str] = set()
        self._batch: list[AnyStep] = []
        # What is asked before each step of all that no outcome is known of; with thousands of routes in it nobody may
        # have to go over them.
        self._lanes: set[str] = set()
        self._withdraws = False
        self._ahead: asyncio.Task[None] | None = None

    async def carry_out(self, steps: Sequence[AnyStep]) -> None:
        """Do all steps whose lanes stay open."""
        try:
            await self._do(steps)
            await self._flush()
        finally:
            if self._ahead:
                self._ahead.cancel()

    async def _do(self, steps: Sequence[AnyStep]) -> None:
        for number, step in enumerate(steps):
            if step.lane in self._ended:
                continue
            if isinstance(step, _FOR_SPEAKER):
                self._collect(step)
                if isinstance(step, ConfigureNeighbors):
                    await self._flush()
                elif len(self._batch) >= _BULK:
                    self._send_ahead()
            elif isinstance(step, _WAITS):
                self._finish(Outcome(step=step, state=OutcomeState.WAITING))
            else:
                if self._must_flush_before(step):
                    await self._flush()
                if step.lane not in self._ended:
                    self._finish(self._datapath.apply(step))
            if number % _BREATHE_EVERY == _BREATHE_EVERY - 1:
                await asyncio.sleep(0)

    def _collect(self, step: AnyStep) -> None:
        self._batch.append(step)
        self._lanes.add(step.lane)
        self._withdraws |= isinstance(step, Withdraw)

    def _must_flush_before(self, step: AnyStep) -> bool:
        return self._withdraws or step.lane in self._lanes

    async def _flush(self) -> None:
        """Hand over what was collected, and know what came of all of it."""
        if self._ahead:
            await self._ahead
        self._ahead, self._lanes, self._withdraws = None, set(), False
        if self._batch:
            await self._hand_over(self._taken())

    def _send_ahead(self) -> None:
        """The same without waiting, unless some are under way already: what comes later must not overtake them."""
        if self._ahead and self._ahead.done():
            self._ahead.result()
            self._ahead = None
        if not self._ahead:
            self._ahead = asyncio.create_task(self._hand_over(self._taken()))

    def _taken(self) -> list[AnyStep]:
        batch, self._batch = self._batch, []
        return batch

    async def _hand_over(self, batch: Sequence[AnyStep]) -> None:
        """Their lanes were open when they were taken in; a wait may have ended some."""
        for outcome in await self._bgp.apply(batch):
            self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        if outcome.state is not OutcomeState.DONE:
            self._ended.add(outcome.step.lane)
        self._report(outcome)
