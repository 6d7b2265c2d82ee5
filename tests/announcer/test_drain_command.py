"""``lockstep undrain`` answers when the agent has decided, not when it has merely heard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from announcer.cli.drain import undrain
from announcer.run.drain import OPERATOR

DRAINED = {"requested": True, "state": "drained", "by": [OPERATOR], "vips": [], "kept": []}
HEARD = DRAINED | {"requested": False}
IN_SERVICE = HEARD | {"state": "none", "by": []}
LABELLED = DRAINED | {"requested": False, "by": ["label lockstep/drain"]}


def _agent(monkeypatch: pytest.MonkeyPatch, *told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One that answers each question with the next of these."""
    answers = iter(told)
    monkeypatch.setattr("announcer.cli.drain.fetch", lambda state_dir, path: {"drain": next(answers)})
    return answers


def test_what_was_heard_but_not_yet_decided_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    left = _agent(monkeypatch, DRAINED, HEARD, HEARD, IN_SERVICE)
    done = CliRunner().invoke(undrain, [f"--state-dir={tmp_path}"])
    assert (done.exit_code, done.output) == (0, "in service\n")
    assert not list(left)


def test_what_else_keeps_the_node_drained_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _agent(monkeypatch, HEARD, LABELLED)
    done = CliRunner().invoke(undrain, [f"--state-dir={tmp_path}"])
    assert (done.exit_code, done.output) == (1, "drained (label lockstep/drain)\n")
