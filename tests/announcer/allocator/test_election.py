"""One leader at a time, with clocks that differ, writes that get lost, and candidates that stall."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from announcer.allocator.election import Election, Lease, LeaseSpec, Move, Terms

TERMS = Terms()
STAMP = "2026-01-01T00:00:00.000000Z"


def lease(holder: str, version: str = "1", duration: int = 15, transitions: int = 0) -> Lease:
    spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=duration, lease_transitions=transitions)
    return Lease(version=version, spec=spec)


def test_who_finds_no_lease_makes_one() -> None:
    election = Election("a")
    assert election.look(None, 5.0) is Move.CREATE
    claim = election.claim(STAMP)
    assert (claim.holder_identity, claim.lease_duration_seconds, claim.lease_transitions) == ("a", 15, 0)
    assert not election.leads(5.0)
    election.won(lease("a"), sent=5.0, now=6.0)
    assert election.leads(14.9)
    assert not election.leads(15.0), "ten seconds after the claim was sent, however late the answer came"


def test_a_lease_is_taken_over_only_when_it_did_not_change_for_its_duration() -> None:
    election = Election("b")
    assert election.look(lease("a", "1"), 100.0) is Move.WAIT
    assert election.look(lease("a", "1"), 114.9) is Move.WAIT
    assert election.look(lease("a", "2"), 115.0) is Move.WAIT, "it changed"
    assert election.look(lease("a", "2"), 129.9) is Move.WAIT
    assert election.look(lease("a", "2", transitions=3), 130.0) is Move.TAKE
    assert election.claim(STAMP).lease_transitions == 1


@pytest.mark.parametrize("stamp", ["1990-01-01T00:00:00.000000Z", "2990-01-01T00:00:00.000000Z"])
def test_times_in_the_lease_do_not_matter(stamp: str) -> None:
    election = Election("b")
    strange = msgspec.structs.replace(lease("a"), spec=msgspec.structs.replace(lease("a").spec, renew_time=stamp))
    assert election.look(strange, 0.0) is Move.WAIT
    assert election.look(strange, 15.0) is Move.TAKE


def test_the_duration_that_counts_is_the_holders() -> None:
    election = Election("b")
    assert election.look(lease("a", duration=60), 0.0) is Move.WAIT
    assert election.look(lease("a", duration=60), 59.0) is Move.WAIT
    assert election.look(lease("a", duration=60), 60.0) is Move.TAKE


def test_a_lease_without_a_holder_is_free() -> None:
    election = Election("b")
    assert election.look(lease("", transitions=4), 0.0) is Move.TAKE
    assert election.claim(STAMP).lease_transitions == 5


def test_a_leader_that_sees_another_leads_no_more() -> None:
    election = Election("a")
    election.look(None, 0.0)
    election.won(lease("a"), 0.0, 0.0)
    assert election.leads(1.0)
    assert election.look(lease("b", "2"), 1.0) is Move.WAIT
    assert not election.leads(1.0)
    assert election.resignation(STAMP) is None


def test_who_resigns_lets_the_next_one_in_at_once() -> None:
    election = Election("a")
    election.look(None, 0.0)
    election.won(lease("a"), 0.0, 0.0)
    spec = election.resignation(STAMP)
    assert spec is not None
    assert Election("b").look(Lease(version="2", spec=spec), 0.1) is Move.TAKE


@pytest.mark.parametrize(("duration", "renew", "retry"), [(10, 10.0, 2.0), (15, 4.0, 2.0), (15, 10.0, 0.0)])
def test_terms_that_allow_two_leaders_are_refused(duration: int, renew: float, retry: float) -> None:
    with pytest.raises(ValueError, match="retry < renew < duration"):
        Terms(duration=duration, renew=renew, retry=retry)


class Candidates(RuleBasedStateMachine):
    """Three candidates with clocks that show anything, an API server that answers late, or not at all.

    A candidate may stall at any moment: between reading and writing, and between the answer and taking note of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.version = 0
        self.stored: Lease | None = None
        self.skew = {"a": 0.0, "b": 77_777.0, "c": -500.0}
        self.elections = {name: Election(name) for name in self.skew}
        #: What each has decided to write, and has not written yet: the move, the version it read, when it decided.
        self.intents: dict[str, tuple[str | None, LeaseSpec, float]] = {}
        #: Answers that are on their way.
        self.answers: dict[str, tuple[Lease, float]] = {}

    def clock(self, name: str) -> float:
        return self.time + self.skew[name]

    @rule(seconds=st.floats(0.1, 12.0))
    def time_passes(self, seconds: float) -> None:
        self.time += seconds

    @rule(name=st.sampled_from("abc"))
    def read(self, name: str) -> None:
        if name in self.answers:
            return
        move = self.elections[name].look(self.stored, self.clock(name))
        self.intents.pop(name, None)
        if move is not Move.WAIT:
            version = self.stored.version if self.stored is not None else None
            self.intents[name] = version, self.elections[name].claim(STAMP), self.clock(name)

    @rule(name=st.sampled_from("abc"), lost=st.booleans())
    def write(self, name: str, lost: bool) -> None:
        intent = self.intents.pop(name, None)
        if intent is None:
            return
        version, spec, sent = intent
        if version != (self.stored.version if self.stored is not None else None):
            self.elections[name].lost()
            return
        self.version += 1
        self.stored = Lease(version=str(self.version), spec=spec)
        if not lost:
            self.answers[name] = self.stored, sent

    @rule(name=st.sampled_from("abc"))
    def answer(self, name: str) -> None:
        if name in self.answers:
            made, sent = self.answers.pop(name)
            self.elections[name].won(made, sent, self.clock(name))

    @rule(name=st.sampled_from("abc"))
    def resign(self, name: str) -> None:
        spec = self.elections[name].resignation(STAMP)
        seen = self.elections[name]._seen
        self.elections[name].lost()
        self.intents.pop(name, None)
        self.answers.pop(name, None)
        if spec is not None and self.stored is not None and seen is not None and seen.version == self.stored.version:
            self.version += 1
            self.stored = Lease(version=str(self.version), spec=spec)

    @invariant()
    def at_most_one_leads(self) -> None:
        leaders = [name for name, election in self.elections.items() if election.leads(self.clock(name))]
        assert len(leaders) <= 1, leaders


Candidates.TestCase.settings = settings(max_examples=300, stateful_step_count=40)
TestCandidates = Candidates.TestCase
