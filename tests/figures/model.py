"""The promise in the model: after how many steps and UPDATEs it was looked at, and how often it was broken."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.announcer.test_promise import MACHINE_SETTINGS, Promise
from tests.bench.report import Row
from tests.figures.rows import counted

_SEQUENCES = 1000


def model_rows() -> list[Row]:
    """Raises ``AssertionError``, with the sequence that led there, if it was broken once."""
    looks = 0

    class Counted(Promise):
        def _check(self) -> None:
            nonlocal looks
            looks += 1
            super()._check()

    run_state_machine_as_test(Counted, settings=settings(MACHINE_SETTINGS, max_examples=_SEQUENCES))
    control = "four plans with a wrong order are found out (test_the_machine_catches_a_wrong_order)"
    return [counted("announced-without-datapath/steps-of-the-state-machine", 0, looks, control=control)]
