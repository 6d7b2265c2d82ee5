"""Carrying out a plan with the two hands.

Lanes are the only control flow: a step that fails or waits ends its lane for this round. Steps for the speaker are
collected and handed over together, because the engine is several times faster in bulk; a withdrawal is handed over
before the next thing is programmed, so that it never waits for work that it does not depend on.
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
        # What is asked of the batch before each step; with thousands of routes in it nobody may have to go over them.
        self._lanes: set[str] = set()
        self._withdraws = False

    async def carry_out(self, steps: Sequence[AnyStep]) -> None:
        """Do all steps whose lanes stay open."""
        for number, step in enumerate(steps):
            if step.lane in self._ended:
                continue
            if isinstance(step, _FOR_SPEAKER):
                self._collect(step)
                if isinstance(step, ConfigureNeighbors):
                    await self._flush()
            elif isinstance(step, _WAITS):
                self._finish(Outcome(step=step, state=OutcomeState.WAITING))
            else:
                if self._must_flush_before(step):
                    await self._flush()
                if step.lane not in self._ended:
                    self._finish(self._datapath.apply(step))
            if number % _BREATHE_EVERY == _BREATHE_EVERY - 1:
                await asyncio.sleep(0)
        await self._flush()

    def _collect(self, step: AnyStep) -> None:
        self._batch.append(step)
        self._lanes.add(step.lane)
        self._withdraws |= isinstance(step, Withdraw)

    def _must_flush_before(self, step: AnyStep) -> bool:
        return self._withdraws or step.lane in self._lanes

    async def _flush(self) -> None:
        """Hand over what was collected. Their lanes were open when they were taken in; a wait may have ended some."""
        batch, self._batch, self._lanes, self._withdraws = self._batch, [], set(), False
        if batch:
            for outcome in await self._bgp.apply(batch):
                self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        if outcome.state is not OutcomeState.DONE:
            self._ended.add(outcome.step.lane)
        self._report(outcome)
