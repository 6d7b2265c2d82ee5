"""Lanes: what fails or waits ends its own lane and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from announcer.model.bgp import Route
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
