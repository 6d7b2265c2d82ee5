"""Deciding again what was decided: every decision and every plan of a recording, offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from announcer.decide import decide
from announcer.fold import fold
from announcer.model.codec import convert
from announcer.model.desired import Desired
from announcer.model.observed import BgpObserved, DatapathObserved, Observed, Outcome
from announcer.plan import PlanSettings, plan
from announcer.record.delta import applied
from announcer.record.line import SCHEMA, decode, is_sound
from announcer.record.plain import Plainer, restore
from announcer.snapshot import Snapshot


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a line says and what came of it; ``problem`` empty: the same as then. ``steps``: of a plan, in words."""

    line: int
    kind: str
    t: float = 0.0
    steps: tuple[str, ...] = ()
    problem: str = ""


def replay(lines: Iterable[bytes], *, check_sums: bool = True) -> Iterator[Finding]:
    """One finding for every line, up to the first that cannot be understood.

    ``check_sums`` False: whether somebody changed a line is not asked, only whether it is decided as then. A last line
    that was cut short, by a crash for example, is no problem.
    """
    player = _Player(check_sums)
    held: bytes | None = None
    number = 0
    for following in lines:
        if held is not None:
            number += 1
            finding = player.play(number, held)
            yield finding
            if finding.kind == "":
                return
        held = following
    if held is not None and held.endswith(b"\n"):
        yield player.play(number + 1, held)


class _Player:
    """Holds what the agent held."""

    def __init__(self, check_sums: bool) -> None:
        self._check_sums = check_sums
        self._sum = ""
        self._plainer = Plainer()
        self._settings = PlanSettings()
        self._snapshot: Any = None
        self._datapath: Any = None
        self._bgp: Any = None
        self._desired = Desired(revision=0, synced=False)
        self._observed = Observed()

    def play(self, number: int, line: bytes) -> Finding:
        """What became of one line; ``kind`` empty if it cannot be understood."""
        try:
            fields, checksum = decode(line)
            sound = not self._check_sums or is_sound(fields, checksum, self._sum)
            self._sum = checksum
            kind, now = str(fields["kind"]), float(fields["t"])
            problem = self._play(kind, fields, now)
        except (ValueError, TypeError, KeyError, msgspec.MsgspecError) as error:
            return Finding(line=number, kind="", problem=f"cannot be understood: {error}")
        if not sound:
            problem = "was changed after it was written"
        return Finding(line=number, kind=kind, t=now, steps=tuple(fields.get("steps", ())), problem=problem)

    def _play(self, kind: str, fields: dict[str, Any], now: float) -> str:
        match kind:
            case "start":
                self._start(fields)
            case "inputs":
                return self._decide(fields)
            case "datapath":
                self._datapath = applied(self._datapath, fields["change"])
                self._observed = fold(self._observed, restore(self._datapath, DatapathObserved), now)
            case "bgp":
                self._bgp = applied(self._bgp, fields["change"])
                self._observed = fold(self._observed, restore(self._bgp, BgpObserved), now)
            case "outcome":
                self._observed = fold(self._observed, convert(fields["outcome"], Outcome), now)
            case "plan":
                steps = plan(self._desired, self._observed, now, self._settings)
                return "" if self._digest(steps) == fields["plan"] else "the plan is another"
            case _:
                raise ValueError(f"no line is of the kind {kind}")
        return ""

    def _start(self, fields: dict[str, Any]) -> None:
        if fields["schema"] != SCHEMA:
            raise ValueError(f"the schema is {fields['schema']}, not {SCHEMA}")
        self._settings = convert(fields["settings"], PlanSettings)
        self._snapshot = fields["snapshot"]
        self._observed = restore(fields["observed"], Observed)
        self._datapath, self._bgp = fields["observed"]["datapath"], fields["observed"]["bgp"]
        self._desired = decide(restore(self._snapshot, Snapshot))

    def _decide(self, fields: dict[str, Any]) -> str:
        self._snapshot = applied(self._snapshot, fields["change"])
        self._desired = decide(restore(self._snapshot, Snapshot))
        return "" if self._digest(self._desired) == fields["decided"] else "the decision is another"

    def _digest(self, value: Any) -> str:
        return _Verbatim().digest(value)


class _Verbatim(Plainer):
    """What is read from a recording is masked already."""

    def _mask(self, text: str) -> str:
        return text
