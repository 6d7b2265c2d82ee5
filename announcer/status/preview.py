"""``/v1/plan`` and ``lockstep plan``: what another bgp-config would do here, without doing it."""

from __future__ import annotations

from typing import Any

from announcer.config import load
from announcer.decide import decide
from announcer.inputs import guard_empty, with_config
from announcer.model.codec import to_builtins
from announcer.model.errors import ConfigProblem
from announcer.preview import Preview, preview
from announcer.snapshot import ConfigState, Snapshot, take_config

SCHEMA = "lockstep.plan/v1"

Json = dict[str, Any]


def plan_answer(snapshot: Snapshot, data: bytes, file: str = "") -> Json:
    """What would happen if ``data`` became the bgp-config of ``snapshot``: the same reading, the same decision."""
    result = load(data, file=file)
    view = guard_empty(snapshot.config, take_config(snapshot.config, result.config, result.problems), file=file)
    if view.state is not ConfigState.APPLIED:
        return _answer(valid=False, problems=view.problems, found=Preview())
    after = decide(with_config(snapshot, view))
    return _answer(valid=True, problems=(), found=preview(decide(snapshot), after))


def _answer(*, valid: bool, problems: tuple[ConfigProblem, ...], found: Preview) -> Json:
    return {
        "schema": SCHEMA,
        "valid": valid,
        "problems": [to_builtins(problem) for problem in problems],
        "changes": not found.empty,
        **to_builtins(found),
    }
