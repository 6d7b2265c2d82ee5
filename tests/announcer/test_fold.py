"""What is known after one more thing was seen."""

from __future__ import annotations

import msgspec

from announcer.fold import fold, fold_outcomes
from announcer.model.lb import Frontend, FrontendKey, Proof
from announcer.model.net import Protocol
from announcer.model.observed import BgpObserved, DatapathObserved, Observed, Outcome, OutcomeState
from announcer.model.steps import Drain, ProgramFrontend, Verify
from tests.announcer.build import ip

VIP, OTHER = ip("203.0.113.1"), ip("203.0.113.2")
KEY = FrontendKey(VIP, Protocol.TCP, 80)
PRESENT = DatapathObserved(frontends={KEY: Frontend(key=KEY)})


def proof_of(ok: bool, at: float) -> Outcome:
    step = Verify(lane=str(VIP), vip=VIP, frontends=())
    state = OutcomeState.DONE if ok else OutcomeState.FAILED
    return Outcome(step=step, state=state, proof=Proof(ok=ok, at=at))


def since(seen: Observed) -> float:
    return seen.proofs[VIP].since


def test_since_begins_anew_only_when_the_answer_changes() -> None:
    seen = fold(Observed(), proof_of(False, 1.0), 1.0)
    seen = fold(seen, proof_of(False, 2.0), 2.0)
    assert (seen.proofs[VIP].at, since(seen)) == (2.0, 1.0)
    seen = fold(seen, proof_of(True, 3.0), 3.0)
    assert since(seen) == 3.0
    seen = fold(seen, proof_of(True, 4.0), 4.0)
    assert since(seen) == 3.0


def test_what_could_not_be_programmed_is_as_good_as_a_failed_proof() -> None:
    step = ProgramFrontend(lane=str(VIP), frontend=Frontend(key=KEY))
    seen = fold(Observed(), Outcome(step=step, state=OutcomeState.FAILED, problem="map is full"), 5.0)
    assert seen.proofs[VIP] == Proof(ok=False, at=5.0, since=5.0, problem="map is full")
    assert fold(Observed(), Outcome(step=step, state=OutcomeState.DONE), 5.0).proofs == {}


def test_a_drain_is_remembered_until_a_good_proof() -> None:
    drain = Outcome(step=Drain(lane=str(VIP), vip=VIP, until=9.0), state=OutcomeState.WAITING)
    seen = fold(Observed(), drain, 7.0)
    assert seen.draining == {VIP: 9.0}
    assert fold(seen, proof_of(False, 8.0), 8.0).draining == {VIP: 9.0}
    assert fold(seen, proof_of(True, 8.0), 8.0).draining == {}


def test_nothing_outlives_the_entries_it_is_about() -> None:
    good = Proof(ok=True, at=1.0)
    seen = Observed(proofs={VIP: good, OTHER: good}, draining={VIP: 1.0, OTHER: 1.0})
    after = fold(seen, PRESENT, 2.0)
    assert (set(after.proofs), set(after.draining)) == ({VIP}, {VIP})


def test_a_read_back_that_failed_says_nothing_about_entries() -> None:
    seen = Observed(datapath=PRESENT, proofs={VIP: Proof(ok=True, at=1.0)}, draining={VIP: 1.0})
    after = fold(seen, DatapathObserved(problem="maps are gone"), 2.0)
    assert (set(after.proofs), set(after.draining)) == ({VIP}, {VIP})
    assert after.datapath.problem


def test_the_speakers_side_replaces_what_was_known() -> None:
    seen = msgspec.structs.replace(Observed(), bgp=BgpObserved(reachable=True))
    assert fold(seen, BgpObserved(reachable=False), 1.0).bgp.reachable is False


def test_what_stays_is_the_same_object_and_what_has_no_entries_goes_even_if_the_entries_are_the_same() -> None:
    seen = Observed()
    for at in (1.0, 2.0, 3.0):
        before = seen = fold(seen, proof_of(True, at), at)
        seen = fold(seen, PRESENT, at)
        assert seen.proofs is before.proofs
    stray = msgspec.structs.replace(seen, proofs={**seen.proofs, OTHER: Proof(ok=True, at=4.0)})
    assert set(fold(stray, PRESENT, 4.0).proofs) == {VIP}
    swapped = msgspec.structs.replace(seen, proofs={OTHER: Proof(ok=True, at=4.0)})
    assert fold(swapped, PRESENT, 4.0).proofs == {}


def test_outcomes_folded_together_are_those_folded_one_by_one() -> None:
    drain = Outcome(step=Drain(lane=str(VIP), vip=VIP, until=9.0), state=OutcomeState.WAITING)
    outcomes = [proof_of(False, 1.0), drain, proof_of(False, 2.0), proof_of(True, 3.0), drain]
    one_by_one = Observed()
    for outcome in outcomes:
        one_by_one = fold(one_by_one, outcome, 5.0)
    assert fold_outcomes(Observed(), outcomes, 5.0) == one_by_one
    assert fold_outcomes(one_by_one, [], 5.0) is one_by_one
