"""The agent: sources in, snapshots; decide, plan, carry out; over and over.

::

    FolderSource ─┐                  ┌─ datapath hand ─ kernel
    config file  ─┼─> Snapshot ─ round ┤
    speaker news ─┘     ^            └─ bgp hand ──── speaker
                        └ deadlines (drain, proof)

A *round* observes both sides, decides, plans and carries out, folding every outcome in. Rounds follow each other until
one changes nothing; then the loop sleeps until something happens or a deadline is due. Everything that could be
forgotten here is read back in the next round, so a crash between any two lines loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec

from announcer.decide import Decider
from announcer.fold import fold, fold_outcomes
from announcer.model.desired import Desired
from announcer.model.lb import LbMode
from announcer.model.observed import BgpObserved, DatapathObserved, Observed, Outcome, OutcomeState
from announcer.model.steps import Verify
from announcer.plan import Planner, PlanSettings, drain_is_over, next_deadline
from announcer.record.recorder import Recorder
from announcer.run.executor import Executor
from announcer.run.journal import Journal
from announcer.run.latency import LatencyMeter
from announcer.run.news import News
from announcer.run.repairs import RepairMeter
from announcer.run.wiring import Hands
from announcer.snapshot import Snapshot

#: How long to wait before trying again what failed, if nothing else happens first, in seconds.
_RETRY_FIRST = 0.05
_RETRY_CEILING = 2.0
#: Looks are so far apart that they take half a percent of the time, but no further than a second, unless they would
#: take more than a twentieth of it then.
_USUAL_FACTOR, _USUAL_CEILING, _LEAST_FACTOR = 200.0, 1.0, 20.0


class Agent:
    """Holds the current values and runs the loop. Everything else reads its properties."""

    def __init__(
        self,
        hands: Hands,
        node_name: str,
        *,
        lb_mode: LbMode = LbMode.DSR,
        settings: PlanSettings | None = None,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` gives CLOCK_MONOTONIC seconds."""
        self._hands = hands
        self._settings = settings or PlanSettings()
        self._recorder = recorder or Recorder(None, self._settings)
        self._clock = clock
        self._wake = asyncio.Event()
        self._decider = Decider()
        self._planner = Planner()
        self._decided: Snapshot | None = None
        self._retry = _RETRY_FIRST
        self._failing = False
        self._cost = 0.0
        self.snapshot = Snapshot(revision=0, node_name=node_name, lb_mode=lb_mode)
        self.desired = Desired(revision=0, synced=False)
        self._observed = Observed()
        #: Not folded in yet, each with when it was known.
        self._outcomes: list[tuple[Outcome, float]] = []
        self._journal = Journal()
        self.latency = LatencyMeter(clock)
        self.repairs = RepairMeter()
        self.rounds = 0
        self.decided = News()
        self.reached = News()  # that the speaker answers, or no longer does

    def take(self, snapshot: Snapshot) -> None:
        """A source has brought something new."""
        self.snapshot = snapshot
        self.wake()

    def drain(self, by: str) -> None:
        """Somebody on this node wants it drained, or no longer (an empty text)."""
        if by != self.snapshot.drain:
            self.take(msgspec.structs.replace(self.snapshot, drain=by, revision=self.snapshot.revision + 1))

    def know_nodes(self, fresh: bool) -> None:
        """Whether what is known of other nodes is fresh."""
        if fresh is not self.snapshot.nodes_fresh:
            self.take(msgspec.structs.replace(self.snapshot, nodes_fresh=fresh, revision=self.snapshot.revision + 1))

    @property
    def observed(self) -> Observed:
        """What is known, with every outcome so far folded in: together, when somebody wants to know."""
        self._settle()
        return self._observed

    @property
    def drained(self) -> bool:
        """True when nothing is left to do for a drain that was asked for."""
        decided = self.snapshot is self._decided
        return decided and drain_is_over(self.desired, self.observed, self._clock(), self._settings)

    def wake(self) -> None:
        """Have a round soon."""
        self._wake.set()

    async def loop(self) -> None:
        """Run until cancelled."""
        while True:
            self._wake.clear()
            again = await self.round()
            if again:
                await asyncio.sleep(0)
                continue
            # Not wait_for: in Python 3.11 it loses a cancellation that comes together with the news.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._wake.wait()

    async def round(self) -> bool:
        """One round. True if another should follow at once, because something was done."""
        self.rounds += 1
        self._recorder.begin(self._decided or self.snapshot, self.observed, self._clock())
        self._decide()
        began = self._clock()
        await self._observe()
        now = self._clock()
        steps = self._planner.plan(self.desired, self.observed, now, self._settings)
        self._recorder.planned(steps, now)
        outcomes: list[Outcome] = []
        before = self.observed.datapath

        def report(outcome: Outcome) -> None:
            outcomes.append(outcome)
            self._outcomes.append((outcome, self._clock()))
            self._journal.note(outcome)
            self.repairs.outcome(outcome, before)

        self._journal.begin(steps)
        await Executor(self._hands.datapath, self._hands.bgp, report).carry_out(steps)
        self._journal.end()
        self.latency.observed(self.desired, self.observed)
        self._recorder.flush()
        self._cost = self._clock() - began
        failed = any(outcome.state is OutcomeState.FAILED for outcome in outcomes)
        self._retry = min(self._retry * 2, _RETRY_CEILING) if failed else _RETRY_FIRST
        self._failing = failed
        return not failed and any(_changes_something(outcome) for outcome in outcomes)

    def _decide(self) -> None:
        if self.snapshot is not self._decided:
            before = self.desired
            self.desired = self._decider.decide(self.snapshot)
            self._decided = self.snapshot
            self._recorder.decided(self.snapshot, self.desired, self._clock())
            self.latency.desired(before, self.desired)
            self.decided.tell()

    async def _observe(self) -> None:
        toward = sorted(neighbor.address for neighbor in self.desired.neighbors.values())
        self._fold(self._hands.datapath.observe(toward))
        reached = self.observed.bgp.reachable
        self._fold(await self._hands.bgp.observe())
        if self.observed.bgp.reachable is not reached:
            self.reached.tell()
        self.latency.observed(self.desired, self.observed)
        self.repairs.observed(self.observed.datapath, self.observed.bgp)

    def _fold(self, event: DatapathObserved | BgpObserved) -> None:
        self._settle()
        now = self._clock()
        self._observed = fold(self._observed, event, now)
        self._recorder.folded(event, now)

    def _settle(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            now = self._clock()
            self._observed = fold_outcomes(self._observed, [outcome for outcome, _ in outcomes], now)
            for outcome, at in outcomes:
                self._recorder.folded(outcome, now, at)

    def _patience(self) -> float | None:
        """How long the loop may sleep if nothing happens."""
        now = self._clock()
        apart = min(_USUAL_FACTOR * self._cost, max(_USUAL_CEILING, _LEAST_FACTOR * self._cost))
        waits = [max(self._settings.proof_interval, apart)]
        deadline = next_deadline(self.observed, now, self._settings)
        if deadline is not None:
            waits.append(max(0.001, deadline - now))
        if self._failing:
            waits.append(self._retry)
        return min(waits)


def _changes_something(outcome: Outcome) -> bool:
    return outcome.state is OutcomeState.DONE and not isinstance(outcome.step, Verify)
