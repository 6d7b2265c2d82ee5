"""What graceful restart may claim, and who is told when."""

from __future__ import annotations

import msgspec
import pytest

from announcer.decide import decide
from announcer.fold import fold
from announcer.model.desired import Desired
from announcer.model.lb import DeviceObserved, Proof
from announcer.model.observed import BgpObserved, DatapathObserved, Observed, Outcome, OutcomeState
from announcer.model.steps import ConfigureNeighbors, DeclareForwarding, EndOfRib
from announcer.plan import PlanSettings, plan
from announcer.plan.forwarding import forwarding_kept
from announcer.plan.view import View
from tests.announcer.build import endpoints, ip, node, service, snapshot

NOW = 100.0
VIP = ip("203.0.113.1")
GOOD = Proof(ok=True, at=NOW, since=NOW)
JUST_FAILED = Proof(ok=False, at=NOW, since=NOW)
LONG_FAILED = Proof(ok=False, at=NOW, since=NOW - 10)


def desired(*, vip: bool = True, graceful: bool = True) -> Desired:
    objects = (node(), service(), endpoints("web", "10.244.1.10")) if vip else (node(),)
    made = decide(snapshot(*objects))
    seconds = 60 if graceful else None
    changed = {name: msgspec.structs.replace(n, graceful_restart=seconds) for name, n in made.neighbors.items()}
    return msgspec.structs.replace(made, neighbors=changed)


def observed(
    *,
    adopted: bool = True,
    completed: bool = False,
    attached: bool = True,
    proof: Proof | None = GOOD,
    problem: str = "",
) -> Observed:
    device = DeviceObserved(name="eth0", ifindex=2, attached=attached)
    return Observed(
        datapath=DatapathObserved(devices={"eth0": device}, adopted=adopted, problem=problem),
        bgp=BgpObserved(reachable=True),
        proofs={VIP: proof} if proof is not None else {},
        completed=completed,
    )


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        (observed(), True),
        (observed(adopted=False), False),
        (observed(adopted=False, completed=True), True),
        (observed(attached=False), False),
        (observed(problem="no programs"), False),
        (observed(proof=None), None),
        (observed(proof=JUST_FAILED), None),
        (observed(proof=LONG_FAILED), False),
        (observed(adopted=False, proof=None), False),
    ],
)
def test_forwarding_was_kept_if_it_was_found_so(seen: Observed, kept: bool | None) -> None:
    assert forwarding_kept(View.of(desired(), seen, NOW, PlanSettings())) is kept


def test_a_node_that_serves_nothing_needs_no_device() -> None:
    seen = observed(attached=False, proof=None)
    assert forwarding_kept(View.of(desired(vip=False), seen, NOW, PlanSettings())) is True


def test_the_speaker_is_told_before_it_has_a_neighbor() -> None:
    steps = [type(step) for step in plan(desired(), observed(), NOW) if step.lane == "speaker"]
    assert steps == [DeclareForwarding, ConfigureNeighbors]


def test_no_neighbor_with_graceful_restart_is_run_before_that_is_known() -> None:
    assert not [step for step in plan(desired(), observed(proof=None), NOW) if step.lane == "speaker"]
    steps = plan(desired(graceful=False), observed(proof=None), NOW)
    assert [type(step) for step in steps if step.lane == "speaker"] == [ConfigureNeighbors], "without, nothing waits"


def test_it_is_told_once() -> None:
    seen = msgspec.structs.replace(observed(), bgp=BgpObserved(reachable=True, forwarding_kept=True))
    assert not any(isinstance(step, DeclareForwarding) for step in plan(desired(), seen, NOW))
    lost = msgspec.structs.replace(seen, datapath=DatapathObserved(problem="gone"))
    assert DeclareForwarding(lane="speaker", kept=False) in plan(desired(), lost, NOW)


def test_end_of_rib_completes_what_this_datapath_serves() -> None:
    step = EndOfRib(lane="x", peer="10.0.0.1", session=1)
    assert not fold(Observed(), Outcome(step=step, state=OutcomeState.WAITING), NOW).completed
    assert fold(Observed(), Outcome(step=step, state=OutcomeState.DONE), NOW).completed
