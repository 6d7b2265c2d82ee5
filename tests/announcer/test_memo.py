"""A memo must never be noticed but by the time that it saves."""

from __future__ import annotations

from announcer.decide import decide
from announcer.decide.memo import Memo
from tests.announcer.build import endpoints, node, service, snapshot


def test_the_same_values_are_computed_once_and_equal_ones_again() -> None:
    memo: Memo[int] = Memo(100)
    first, equal = (1, 2), tuple(range(1, 3))
    computed: list[int] = []

    def compute() -> int:
        computed.append(1)
        return len(computed)

    assert memo.get((first,), ("a",), compute) == 1
    assert memo.get((first,), ("a",), compute) == 1
    assert memo.get((first,), ("b",), compute) == 2, "the rest counts"
    assert memo.get((equal,), ("a",), compute) == 3, "identity, not equality"


def test_it_is_bounded_and_keeps_what_is_used() -> None:
    memo: Memo[int] = Memo(10)
    used = (0,)
    memo.get((used,), (), lambda: 7)
    for number in range(100):
        memo.get(((number,),), (), lambda: 0)
        assert memo.get((used,), (), lambda: -1) == 7
    assert len(memo._young) + len(memo._old) <= 20


def test_a_decision_sees_every_change_of_a_slice_or_a_port() -> None:
    first = decide(snapshot(node(), service(), endpoints("web", "10.244.1.10")))
    again = decide(snapshot(node(), service(), endpoints("web", "10.244.1.10")))
    more = decide(snapshot(node(), service(), endpoints("web", "10.244.1.10", "10.244.1.11")))
    gone = decide(snapshot(node(), service()))
    assert first == again
    counts = [sum(len(one.backends) for one in found.frontends.values()) for found in (first, more, gone)]
    assert counts[0] < counts[1]
    assert counts[2] == 0


def test_two_of_the_same_hash_are_told_apart() -> None:
    memo: Memo[str] = Memo(10)
    values = ((1,),)
    assert hash(-1) == hash(-2)
    for _ in range(2):
        assert memo.get(values, (-1,), lambda: "one") == "one"
        assert memo.get(values, (-2,), lambda: "two") == "two"
