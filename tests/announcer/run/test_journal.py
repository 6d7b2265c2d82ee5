"""What the log says of steps."""

from __future__ import annotations

import ipaddress

import pytest

from announcer.model.lb import FrontendKey
from announcer.model.net import Protocol
from announcer.model.observed import Outcome, OutcomeState
from announcer.model.steps import RemoveFrontend, Verify
from announcer.run.journal import Journal

VIP = ipaddress.IPv4Address("203.0.113.1")


def _removal(number: int) -> RemoveFrontend:
    return RemoveFrontend(lane=str(VIP + number), key=FrontendKey(VIP + number, Protocol.TCP, 80))


def _said(caplog: pytest.LogCaptureFixture, steps: list[RemoveFrontend], failing: set[int]) -> list[str]:
    caplog.clear()
    caplog.set_level("INFO")
    journal = Journal()
    for _ in range(2):
        journal.begin(steps)
        for number, step in enumerate(steps):
            failed = number in failing
            state = OutcomeState.FAILED if failed else OutcomeState.DONE
            journal.note(Outcome(step=step, state=state, problem="no such map" if failed else ""))
        journal.end()
    return [record.message for record in caplog.records]


def test_few_steps_are_told_one_by_one_and_what_goes_on_failing_once(caplog: pytest.LogCaptureFixture) -> None:
    said = _said(caplog, [_removal(0), _removal(1)], failing={1})
    assert said == [
        "step done: remove 203.0.113.1:80/TCP",
        "step failed: remove 203.0.113.2:80/TCP",
        "step done: remove 203.0.113.1:80/TCP",
    ]


def test_a_round_of_very_many_is_summed_up_and_failures_are_not(caplog: pytest.LogCaptureFixture) -> None:
    said = _said(caplog, [_removal(number) for number in range(1000)], failing={7})
    assert said == [
        "step failed: remove 203.0.113.8:80/TCP",
        "steps done: RemoveFrontend 999",
        "steps done: RemoveFrontend 999",
    ]


def test_a_proof_that_succeeds_is_no_news_but_one_that_does_again_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    journal, step = Journal(), Verify(lane=str(VIP), vip=VIP, frontends=())
    for state in (OutcomeState.DONE, OutcomeState.FAILED, OutcomeState.DONE, OutcomeState.DONE):
        journal.begin([step])
        journal.note(Outcome(step=step, state=state, problem="differs" if state is OutcomeState.FAILED else ""))
        journal.end()
    assert [record.message for record in caplog.records] == [f"step failed: prove {VIP}", f"step done: prove {VIP}"]
