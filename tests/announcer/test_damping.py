"""A VIP whose proof comes and goes comes back more slowly every time."""

from __future__ import annotations

import msgspec
import pytest

from announcer.fold import FLAP_MEMORY, fold
from announcer.model.bgp import RibEntry
from announcer.model.lb import Proof
from announcer.model.net import IPNetwork
from announcer.model.observed import Damping, DatapathObserved, Observed, Outcome, OutcomeState
from announcer.model.steps import Announce, EndOfRib, Verify, Withdraw
from announcer.plan import PlanSettings, next_deadline, plan
from announcer.plan.damping import hold_time
from tests.announcer.test_plan import NOW, PEER, ROUTE, VIP, announced, desired, good, names, observed, served


def _seen(observed_: Observed, ok: bool, at: float) -> Observed:
    proof = Proof(ok=ok, at=at, problem="" if ok else "x")
    state = OutcomeState.DONE if ok else OutcomeState.FAILED
    return fold(observed_, Outcome(step=Verify(lane=str(VIP), vip=VIP, frontends=()), state=state, proof=proof), at)


def _withdrawn(observed_: Observed, at: float, peer: str = PEER) -> Observed:
    step = Withdraw(lane=str(VIP), peer=peer, nlri=ROUTE)
    return fold(observed_, Outcome(step=step, state=OutcomeState.DONE), at)


def _flap(observed_: Observed, at: float) -> Observed:
    """Fails, is withdrawn from two peers, is proven again: all within a second."""
    observed_ = _withdrawn(_withdrawn(_seen(observed_, False, at), at + 0.3), at + 0.4, "10.0.0.2")
    return _seen(observed_, True, at + 0.9)


def test_hold_times_double_up_to_a_limit() -> None:
    assert [hold_time(flaps, PlanSettings()) for flaps in (0, 1, 2, 3, 4, 8, 9, 10_000)] == [0, 0, 1, 2, 4, 60, 60, 60]


def test_flaps_are_counted_once_each_and_forgotten_in_the_end() -> None:
    seen = Observed()
    for number in range(1, 4):
        seen = _flap(seen, NOW + 10 * number)
        assert seen.damping[VIP].flaps == number
    assert fold(seen, DatapathObserved(), NOW + 30 + FLAP_MEMORY - 1).damping
    assert not fold(seen, DatapathObserved(), NOW + 31 + FLAP_MEMORY).damping


def test_a_withdrawal_for_another_reason_is_no_flap() -> None:
    assert not _withdrawn(_seen(Observed(), True, NOW), NOW).damping


def test_a_failure_that_was_over_before_anything_was_withdrawn_is_no_flap() -> None:
    assert not _seen(_seen(Observed(), False, NOW), True, NOW + 0.1).damping


@pytest.mark.parametrize(("flaps", "held"), [(1, False), (2, True)])
def test_the_first_time_is_forgiven(flaps: int, held: bool) -> None:
    seen = msgspec.structs.replace(
        observed(frontends=served(), proof=good()), damping={VIP: Damping(flaps=flaps, since=NOW - 1, at=NOW - 0.5)}
    )
    assert ("Announce" in names(plan(desired(), seen, NOW))) is not held
    assert next_deadline(seen, NOW) == (NOW + 1 if held else None), "when the hold is over"
    later = msgspec.structs.replace(seen, proofs={VIP: msgspec.structs.replace(good(NOW), since=NOW - 1)})
    assert "Announce" in names(plan(desired(), later, NOW)), "it held for a second"


def test_a_proof_that_succeeds_in_this_round_has_not_held_yet() -> None:
    failed = Proof(ok=False, at=NOW, since=NOW, problem="x")
    seen = msgspec.structs.replace(
        observed(frontends=served(), proof=failed), damping={VIP: Damping(flaps=2, since=NOW, at=NOW)}
    )
    assert names(plan(desired(), seen, NOW)) == ["Verify"]


def test_what_is_announced_already_may_still_be_changed() -> None:
    other = msgspec.structs.replace(announced()[ROUTE].route, med=7)
    rib: dict[IPNetwork, RibEntry] = {ROUTE: msgspec.structs.replace(announced()[ROUTE], route=other)}
    seen = msgspec.structs.replace(
        observed(frontends=served(), rib=rib, proof=good()), damping={VIP: Damping(flaps=9, since=NOW - 1, at=NOW)}
    )
    assert any(isinstance(step, Announce) for step in plan(desired(), seen, NOW))


def test_end_of_rib_does_not_wait_for_what_is_held_back() -> None:
    seen = msgspec.structs.replace(
        observed(frontends=served(), proof=good(), end_of_rib=0), damping={VIP: Damping(flaps=9, since=NOW - 1, at=NOW)}
    )
    assert any(isinstance(step, EndOfRib) for step in plan(desired(), seen, NOW))
