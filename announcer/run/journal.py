"""What the log says of the steps that were carried out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from announcer.model.observed import Outcome, OutcomeState
from announcer.model.steps import AnyStep, Verify
from announcer.plan.describe import describe

log = logging.getLogger(__name__)

#: A round with more steps is summed up: whoever starts a node of 10,000 VIPs does not read 20,000 lines.
_EACH = 200


class Journal:
    """Says what went wrong once, not at every retry, and forgets it when it went well."""

    def __init__(self) -> None:
        """Nothing went wrong yet."""
        self._problems: dict[tuple[str, str], str] = {}
        self._counts: Counter[str] | None = None

    def begin(self, steps: Sequence[AnyStep]) -> None:
        """A round with these steps."""
        self._counts = Counter() if len(steps) > _EACH else None

    def note(self, outcome: Outcome) -> None:
        """What came of one step."""
        kind = type(outcome.step).__name__
        key = (outcome.step.lane, kind)
        if outcome.state is OutcomeState.FAILED:
            if self._problems.get(key) != outcome.problem:
                log.warning("step failed: %s", describe(outcome.step), extra={"problem": outcome.problem})
            self._problems[key] = outcome.problem
        elif outcome.state is OutcomeState.DONE:
            recovered = self._problems.pop(key, None) is not None
            if recovered or (self._counts is None and not isinstance(outcome.step, Verify)):
                log.info("step done: %s", describe(outcome.step))
            elif self._counts is not None:
                self._counts[kind] += 1

    def end(self) -> None:
        """The round is over."""
        if self._counts:
            log.info("steps done: %s", ", ".join(f"{kind} {count}" for kind, count in sorted(self._counts.items())))
