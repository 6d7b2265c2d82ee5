"""A recording is decided again exactly as it was, holds no secret, and shows when somebody changed it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from announcer.cli.replay import replay as replay_command
from announcer.decide import decide
from announcer.fold import fold
from announcer.model.desired import Desired
from announcer.model.objects import ObjectKey, Secret
from announcer.model.observed import BgpObserved, DatapathObserved, Observed, Outcome, OutcomeState
from announcer.model.steps import (
    AnyStep,
    AttachDevices,
    AwaitQuiet,
    AwaitSent,
    Drain,
    ProgramFrontend,
    RemoveFrontend,
    Shed,
    Verify,
)
from announcer.plan import PlanSettings, plan
from announcer.record.delta import applied, delta
from announcer.record.plain import Plainer, restore
from announcer.record.recorder import Recorder
from announcer.record.replay import Finding, replay
from announcer.snapshot import Snapshot
from tests.announcer.build import endpoints, node, service, snapshot
from tests.announcer.world import Kernel, Speaker

CANARY = "canary-7351"
CONFIG = f"""
peers:
- {{peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512, password: {CANARY}-a}}
- {{peer-address: 10.0.0.2, peer-asn: 64512, my-asn: 64512, password-secret: {{name: bgp}}}}
address-pools:
- {{name: main, protocol: bgp, addresses: [203.0.113.0/28]}}
"""


def _inputs(ready: bool, password: str = CANARY + "-b", **fields: Any) -> Snapshot:
    secret = Secret(key=ObjectKey("kube-system", "bgp"), data={"password": password.encode()})
    pods = endpoints("web", "10.244.1.10", ready=ready)
    return snapshot(node(), service(), pods, secret, config_text=CONFIG, **fields)


class _Life:
    """A few rounds of an agent, against a small world, for each of the inputs."""

    def __init__(self, path: Path, limit: int = 1 << 20) -> None:
        self.recorder = Recorder(path, PlanSettings(), limit=limit)
        self.kernel, self.speaker, self.now = Kernel(), Speaker(), 1000.0
        self.observed, self.desired = Observed(), Desired(revision=0, synced=False)
        self.known = Snapshot(revision=0, node_name="n1")

    def see(self, *inputs: Snapshot) -> None:
        for seen in inputs:
            for _ in range(6):
                self._round(seen)
        self.recorder.close()

    def _round(self, seen: Snapshot) -> None:
        self.recorder.begin(self.known, self.observed, self.now)
        if seen is not self.known:
            self.known, self.desired = seen, decide(seen)
            self.recorder.decided(seen, self.desired, self.now)
        self._fold(self.kernel.observe())
        self._fold(self.speaker.observe())
        steps = plan(self.desired, self.observed, self.now)
        self.recorder.planned(steps, self.now)
        ended: set[str] = set()
        for step in steps:
            if step.lane not in ended:
                outcome = self._carry_out(step)
                self._fold(outcome)
                ended |= {step.lane} if outcome.state is not OutcomeState.DONE else set()
        self.recorder.flush()
        for name in self.speaker.neighbors:
            self.speaker.session_up(name)
        for unsent in self.speaker.unsent():
            self.speaker.send(*unsent)
        self.now += 0.7

    def _fold(self, event: DatapathObserved | BgpObserved | Outcome) -> None:
        self.observed = fold(self.observed, event, self.now)
        self.recorder.folded(event, self.now)

    def _carry_out(self, step: AnyStep) -> Outcome:
        if isinstance(step, AwaitSent | Drain | Shed | AwaitQuiet):
            return Outcome(step=step, state=OutcomeState.WAITING)
        if isinstance(step, AttachDevices | ProgramFrontend | Verify | RemoveFrontend):
            return self.kernel.apply(step, self.now)
        return self.speaker.apply([step], self.now)[0]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "record"
    _Life(path).see(_inputs(True), _inputs(False), _inputs(True, drain="lockstep drain"))
    return path


def _replay(path: Path, **options: bool) -> list[Finding]:
    with path.open("rb") as lines:
        return list(replay(lines, **options))


def _problems(path: Path, **options: bool) -> list[Finding]:
    return [finding for finding in _replay(path, **options) if finding.problem]


def test_every_decision_and_every_plan_is_the_same(recording: Path) -> None:
    assert _problems(recording) == []
    found = _replay(recording)
    assert {one.kind for one in found} == {"start", "inputs", "datapath", "bgp", "outcome", "plan"}
    assert sum(len(one.steps) for one in found) > 15, "something was done"
    assert recording.stat().st_mode & 0o777 == 0o600


def test_no_secret_stands_in_it(recording: Path) -> None:
    text = recording.read_text()
    assert "masked-" in text
    assert CANARY not in text
    assert base64.b64encode(CANARY.encode()).decode()[:10] not in text


@pytest.mark.parametrize("password", ["", "has blanks", "x" * 81, 'quo"te', "\u00e4"])
def test_a_secret_that_cannot_be_used_is_refused_in_the_replay_as_well(tmp_path: Path, password: str) -> None:
    assert decide(_inputs(True, password)).refused_peers
    _Life(tmp_path / "record").see(_inputs(True, password))
    assert _problems(tmp_path / "record") == []


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_any_change_of_any_line_is_found(recording: Path) -> None:
    before = _lines(recording)
    for number in range(0, len(before), 7):
        changed = {**before[number], "t": before[number]["t"] + 1}
        _write(recording, [*before[:number], changed, *before[number + 1 :]])
        assert any(one.line == number + 1 for one in _problems(recording))
    _write(recording, [*before[:5], *before[6:]])
    assert _problems(recording), "a line that was taken out"


def test_an_input_changed_on_purpose_is_decided_otherwise(recording: Path) -> None:
    lines = _lines(recording)
    first = next(line for line in lines if line["kind"] == "inputs")
    first["change"]["services"]["default/web"][0]["type"] = "NodePort"
    _write(recording, lines)
    assert _problems(recording, check_sums=False)[0].problem == "the decision is another"


def test_a_line_cut_short_by_a_crash_is_no_problem(recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:-20])
    assert _problems(recording) == []


def test_both_files_of_a_full_recording_can_be_replayed(tmp_path: Path) -> None:
    path, older = tmp_path / "record", tmp_path / "record.1"
    _Life(path, limit=60_000).see(*[_inputs(number % 2 == 0) for number in range(12)])
    assert path.stat().st_size + older.stat().st_size < 90_000
    for file in (older, path):
        assert _replay(file)[0].kind == "start"
        assert _problems(file) == []


def test_a_disk_that_refuses_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    life = _Life(tmp_path / "no" / "such" / "folder")
    life.see(_inputs(True))
    assert life.kernel.entries


def test_the_command(recording: Path) -> None:
    good = CliRunner().invoke(replay_command, [str(recording), "--json"])
    assert good.exit_code == 0
    assert json.loads(good.output)["lines"]["inputs"] == 3
    shown = CliRunner().invoke(replay_command, [str(recording), "--show"])
    assert "announce 203.0.113.1/32 to 10.0.0.1" in shown.output
    assert shown.output.rstrip().endswith("all as then")
    recording.write_bytes(recording.read_bytes().replace(b"203.0.113.1", b"203.0.113.2", 1))
    bad = CliRunner().invoke(replay_command, [str(recording)])
    assert bad.exit_code == 1
    assert "was changed after it was written" in bad.output
    recording.write_text("no recording\n")
    assert CliRunner().invoke(replay_command, [str(recording)]).exit_code == 1


_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@given(before=_VALUES, after=_VALUES)
def test_a_change_leads_from_one_value_to_the_other(before: Any, after: Any) -> None:
    assert applied(before, json.loads(json.dumps(delta(before, after)))) == after


def _samples() -> list[msgspec.Struct]:
    kernel, speaker = Kernel(), Speaker()
    both = fold(fold(Observed(), kernel.observe(), 1.0), speaker.observe(), 1.0)
    return [snapshot(node(), service(), endpoints("web", "10.244.1.10")), kernel.observe(), speaker.observe(), both]


@pytest.mark.parametrize("value", _samples(), ids=lambda value: type(value).__name__)
def test_every_field_of_what_is_recorded_survives(value: msgspec.Struct) -> None:
    """A field that is added to one of them and has no plain form is found here, not by an operator."""
    plain = Plainer().plain(value)
    assert set(plain) == set(value.__struct_fields__)
    assert restore(json.loads(json.dumps(plain)), type(value)) == value
