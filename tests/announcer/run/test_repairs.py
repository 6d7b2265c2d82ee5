"""What counts as a repair, and what does not."""

from __future__ import annotations

import pytest

from announcer.model.lb import Backend, DeviceObserved, Frontend, FrontendKey, Hook
from announcer.model.net import Protocol
from announcer.model.observed import BgpObserved, DatapathObserved, Outcome, OutcomeState
from announcer.model.steps import AnyStep, AttachDevices, GuardAggregate, ProgramFrontend, RemoveFrontend
from announcer.run.repairs import Repair, RepairMeter
from tests.announcer.build import ip, net

KEY = FrontendKey(ip("203.0.113.1"), Protocol.TCP, 80)
ONE = Frontend(key=KEY, backends=(Backend(ip("10.244.1.10"), 8080),))
OTHER = Frontend(key=KEY, backends=(Backend(ip("10.244.1.11"), 8080),))
PREFIX = net("203.0.113.0/28")
ATTACH = AttachDevices(lane="devices")


def _device(**fields: object) -> DatapathObserved:
    device = DeviceObserved(**{"name": "eth0", "ifindex": 2, "hook": Hook.XDP_NATIVE, **fields})  # type: ignore[arg-type]
    return DatapathObserved(devices={"eth0": device})


WELL = _device(attached=True)


def _meter(*steps: AnyStep, state: OutcomeState = OutcomeState.DONE, before: DatapathObserved = WELL) -> RepairMeter:
    meter = RepairMeter()
    meter.observed(WELL, BgpObserved())
    for step in steps:
        meter.outcome(Outcome(step=step, state=state), before)
    return meter


def _counts(meter: RepairMeter) -> dict[str, float]:
    found = {kind: meter.registry.get_sample_value("lockstep_repairs_total", {"kind": kind.value}) for kind in Repair}
    return {kind.value: count for kind, count in found.items() if count}


def _program(frontend: Frontend) -> ProgramFrontend:
    return ProgramFrontend(lane="l", frontend=frontend)


def test_every_kind_has_a_series_from_the_beginning() -> None:
    meter = RepairMeter()
    assert all(
        meter.registry.get_sample_value("lockstep_repairs_total", {"kind": kind.value}) == 0.0 for kind in Repair
    )


@pytest.mark.parametrize(
    ("steps", "counts"),
    [
        ([_program(ONE)], {}),
        ([_program(ONE), _program(OTHER)], {}),
        ([_program(ONE), _program(ONE)], {"entry": 1}),
        ([_program(ONE), RemoveFrontend(lane="l", key=KEY), _program(ONE)], {}),
        ([GuardAggregate(lane="g", prefix=PREFIX)] * 2, {"guard": 1}),
    ],
)
def test_what_was_set_right_before_was_repaired(steps: list[AnyStep], counts: dict[str, float]) -> None:
    assert _counts(_meter(*steps)) == counts


def test_what_failed_was_not_repaired() -> None:
    assert _counts(_meter(_program(ONE), _program(ONE), state=OutcomeState.FAILED)) == {}


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (_device(hook=None), "link"),
        (_device(unpinned=True), "pin"),
        (_device(problem="egress filter not attached"), "link"),
        (_device(ifindex=7, hook=None), "device"),
        (_device(name="eth1", hook=None), "device"),
    ],
)
def test_what_was_wrong_with_the_device(before: DatapathObserved, kind: str) -> None:
    assert _counts(_meter(ATTACH, before=before)) == {kind: 1}


def test_the_first_attachment_is_no_repair() -> None:
    meter = RepairMeter()
    meter.outcome(Outcome(step=ATTACH, state=OutcomeState.DONE), _device(hook=None))
    assert _counts(meter) == {}


def test_what_a_former_agent_left_in_place_counts_as_set_right() -> None:
    meter = RepairMeter()
    meter.observed(DatapathObserved(frontends={KEY: ONE}), BgpObserved())
    meter.outcome(Outcome(step=_program(ONE), state=OutcomeState.DONE), WELL)
    assert _counts(meter) == {"entry": 1}


def test_a_speaker_that_comes_back_was_repaired_and_one_that_comes_was_not() -> None:
    meter = RepairMeter()
    for reachable in (False, False, True, True):
        meter.observed(WELL, BgpObserved(reachable=reachable))
    assert _counts(meter) == {}
    for reachable in (False, False, True, False, True):
        meter.observed(WELL, BgpObserved(reachable=reachable))
    assert _counts(meter) == {"speaker": 2}
