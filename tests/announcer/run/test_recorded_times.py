"""A recording tells when an outcome was known, not only when it was folded in with all others of its round."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from announcer.model.net import IPAddress
from announcer.model.observed import BgpObserved, DatapathObserved, Outcome
from announcer.model.steps import AnyStep
from announcer.plan import PlanSettings
from announcer.record.recorder import Recorder
from announcer.run.agent import Agent
from announcer.run.wiring import Hands
from tests.announcer.build import endpoints, node, service, snapshot
from tests.announcer.world import Kernel, Speaker


class _Hand:
    """Both hands of an agent, in a world where every look at the clock takes a second."""

    def __init__(self) -> None:
        self.kernel, self.speaker, self.ticks = Kernel(), Speaker(), count(1000)
        self.applied: list[float] = []

    def clock(self) -> float:
        return float(next(self.ticks))

    def observe(self, toward: Sequence[IPAddress]) -> DatapathObserved:
        return self.kernel.observe()

    def apply(self, step: AnyStep) -> Outcome:
        self.applied.append(self.clock())
        return self.kernel.apply(step, self.applied[-1])


class _Mouth:
    def __init__(self, hand: _Hand) -> None:
        self._hand = hand

    async def observe(self) -> BgpObserved:
        return self._hand.speaker.observe()

    async def apply(self, steps: Sequence[AnyStep]) -> list[Outcome]:
        return self._hand.speaker.apply(list(steps), self._hand.clock())


def test_an_outcome_is_recorded_with_the_moment_at_which_it_was_known(tmp_path: Path) -> None:
    hand = _Hand()
    recorder = Recorder(tmp_path / "record", PlanSettings())
    agent = Agent(Hands(hand, _Mouth(hand)), "n1", recorder=recorder, clock=hand.clock)
    agent.take(snapshot(node(), service(), endpoints("web", "10.244.1.10")))
    asyncio.run(agent.round())
    asyncio.run(agent.round())
    recorder.close()

    lines = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    outcomes = [line for line in lines if line["kind"] == "outcome"]
    known = [line["at"] for line in outcomes]
    assert len(hand.applied) > 1
    assert set(hand.applied) <= {at - 1 for at in known}, "right after it was applied"
    assert known == sorted(set(known)), "each at its own time"
    assert all(line["at"] < line["t"] for line in outcomes), "folded in later, together"
