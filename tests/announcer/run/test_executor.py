"""Lanes: what fails or waits ends its own lane and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest

from announcer.model.bgp import Route
from announcer.model.errors import BugError
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import IPAddress, Protocol
from announcer.model.observed import BgpObserved, DatapathObserved, Outcome, OutcomeState
from announcer.model.steps import (
    Announce,
    AnyStep,
    AwaitSent,
    ConfigureNeighbors,
    ProgramFrontend,
    RemoveFrontend,
    Verify,
    Withdraw,
)
from announcer.run.executor import Executor
from tests.announcer.build import ip, net

A, B = "203.0.113.1", "203.0.113.2"


class Recorder:
    """Both hands: writes down what is asked, and fails at what it is told to fail at."""

    def __init__(self, fail: Sequence[AnyStep] = ()) -> None:
        self.fail = fail
        self.calls: list[tuple[AnyStep, ...]] = []

    def _outcome(self, step: AnyStep) -> Outcome:
        failed = step in self.fail
        return Outcome(step=step, state=OutcomeState.FAILED if failed else OutcomeState.DONE, problem="no" * failed)


class Kernel(Recorder):
    def apply(self, step: AnyStep) -> Outcome:
        self.calls.append((step,))
        return self._outcome(step)

    def observe(self, toward: Sequence[IPAddress]) -> DatapathObserved:
        return DatapathObserved()


class Speaker(Recorder):
    def __init__(self, kernel: Kernel, fail: Sequence[AnyStep] = ()) -> None:
        super().__init__(fail)
        self.calls = kernel.calls

    async def apply(self, steps: Sequence[AnyStep]) -> list[Outcome]:
        self.calls.append(tuple(steps))
        return [self._outcome(step) for step in steps]

    async def observe(self) -> BgpObserved:
        return BgpObserved(reachable=True)


def run(steps: list[AnyStep], fail: Sequence[AnyStep] = ()) -> tuple[list[tuple[AnyStep, ...]], list[Outcome]]:
    kernel = Kernel(fail)
    outcomes: list[Outcome] = []
    asyncio.run(Executor(kernel, Speaker(kernel, fail), outcomes.append).carry_out(steps))
    return kernel.calls, outcomes


def program(vip: str) -> ProgramFrontend:
    return ProgramFrontend(lane=vip, frontend=Frontend(key=FrontendKey(ip(vip), Protocol.TCP, 80)))


def verify(vip: str) -> Verify:
    return Verify(lane=vip, vip=ip(vip), frontends=())


def announce(vip: str) -> Announce:
    return Announce(lane=vip, peer="p", route=Route(nlri=net(f"{vip}/32")))


def withdraw(vip: str) -> Withdraw:
    return Withdraw(lane=vip, peer="p", nlri=net(f"{vip}/32"))


def wait(vip: str) -> AwaitSent:
    return AwaitSent(lane=vip, withdrawals=(("p", net(f"{vip}/32")),))


def remove(vip: str) -> RemoveFrontend:
    return RemoveFrontend(lane=vip, key=FrontendKey(ip(vip), Protocol.TCP, 80))


def test_a_failure_ends_its_own_lane_alone() -> None:
    steps: list[AnyStep] = [program(A), verify(A), announce(A), program(B), verify(B), announce(B)]
    calls, outcomes = run(steps, fail=[verify(A)])
    assert calls == [(program(A),), (verify(A),), (program(B),), (verify(B),), (announce(B),)]
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "done", "done"]


def test_announcements_go_in_bulk() -> None:
    steps: list[AnyStep] = [program(A), verify(A), announce(A), program(B), verify(B), announce(B)]
    calls, _ = run(steps)
    assert calls[-1] == (announce(A), announce(B))


def test_what_stands_behind_a_wait_is_not_done() -> None:
    calls, outcomes = run([withdraw(A), wait(A), remove(A)])
    assert calls == [(withdraw(A),)]
    assert [outcome.state for outcome in outcomes] == ["waiting", "done"]


def test_withdrawals_go_in_bulk_and_before_anything_is_programmed() -> None:
    calls, _ = run([withdraw(A), wait(A), remove(A), withdraw(B), wait(B), remove(B), program("203.0.113.3")])
    assert calls == [(withdraw(A), withdraw(B)), (program("203.0.113.3"),)]


def test_a_removal_behind_an_announcement_in_its_lane_waits_for_its_outcome() -> None:
    calls, _ = run([announce(A), remove(A)], fail=[announce(A)])
    assert calls == [(announce(A),)]


def test_neighbors_are_configured_before_their_routes_are_given() -> None:
    neighbors = ConfigureNeighbors(lane="speaker", neighbors=())
    calls, _ = run([neighbors, announce(A)])
    assert calls == [(neighbors,), (announce(A),)]


class SlowSpeaker(Speaker):
    """Answers some turns of the loop later, and not two at a time."""

    def __init__(self, kernel: Kernel, fail: Sequence[AnyStep] = ()) -> None:
        super().__init__(kernel, fail)
        self.busy = False
        self.turns = 20

    async def apply(self, steps: Sequence[AnyStep]) -> list[Outcome]:
        assert not self.busy
        self.busy = True
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            return await super().apply(steps)
        finally:
            self.busy = False


MANY = [f"198.51.{number // 250}.{number % 250}" for number in range(3000)]
LAST = program(MANY[-1])
INTO_SERVICE: list[AnyStep] = list(chain.from_iterable((program(vip), announce(vip)) for vip in MANY))


def run_many(steps: list[AnyStep], fail: Sequence[AnyStep] = ()) -> tuple[list[tuple[AnyStep, ...]], list[Outcome]]:
    kernel = Kernel(fail)
    outcomes: list[Outcome] = []
    asyncio.run(Executor(kernel, SlowSpeaker(kernel, fail), outcomes.append).carry_out(steps))
    return kernel.calls, outcomes


def test_the_first_routes_of_many_do_not_wait_for_the_last_vip() -> None:
    calls, outcomes = run_many(INTO_SERVICE)
    assert len(outcomes) == len(INTO_SERVICE)
    bulks = [call for call in calls if isinstance(call[0], Announce)]
    assert list(chain.from_iterable(bulks)) == INTO_SERVICE[1::2], "in their order"
    assert 1 < len(bulks) < 10
    assert calls.index(bulks[0]) < len(MANY), "others are still to be programmed"
    assert len(bulks[1]) > len(bulks[0]), "more was programmed while the first were under way"


def test_a_lane_of_which_a_step_is_under_way_waits_for_it() -> None:
    first, last = MANY[0], MANY[-1]
    calls, outcomes = run_many([*INTO_SERVICE, remove(first), remove(last)], fail=[announce(first)])
    assert (remove(first),) not in calls
    assert calls[-1] == (remove(last),)
    assert [each.step for each in outcomes if each.state is OutcomeState.FAILED] == [announce(first)]


def test_a_withdrawal_goes_behind_what_is_under_way_and_before_anything_is_programmed() -> None:
    calls, _ = run_many([*INTO_SERVICE, withdraw(A), program(B)])
    assert calls[-1] == (program(B),)
    assert calls[-2][-1] == withdraw(A)


def test_what_is_under_way_ends_with_the_round() -> None:
    def report(outcome: Outcome) -> None:
        if outcome.step == LAST:
            raise BugError("the round ends here")

    async def broken() -> bool:
        kernel = Kernel()
        speaker = SlowSpeaker(kernel)
        speaker.turns = 10**9
        with pytest.raises(BugError):
            await Executor(kernel, speaker, report).carry_out(INTO_SERVICE)
        await asyncio.sleep(0)
        return speaker.busy

    assert not asyncio.run(broken())


def test_an_error_of_ours_under_way_is_not_lost() -> None:
    class Broken(Speaker):
        async def apply(self, steps: Sequence[AnyStep]) -> list[Outcome]:
            raise BugError("no such step")

    kernel = Kernel()
    with pytest.raises(BugError):
        asyncio.run(Executor(kernel, Broken(kernel), lambda _: None).carry_out(INTO_SERVICE))
    assert len(kernel.calls) < len(MANY)
