"""What has changed between two tables."""

from __future__ import annotations

import random
import weakref

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from announcer.model.changes import Derived, changed

VALUES = [object() for _ in range(3)]
TABLES = st.dictionaries(st.integers(0, 6), st.sampled_from(VALUES))


@given(before=TABLES, after=TABLES, order=st.randoms())
def test_it_is_what_came_went_or_is_another_object(
    before: dict[int, object], after: dict[int, object], order: random.Random
) -> None:
    """Whatever the order of the keys, and each once."""
    keys = list(after)
    order.shuffle(keys)
    after = {key: after[key] for key in keys}
    wanted = {key for key in {*before, *after} if before.get(key) is not after.get(key)}
    found = changed(before, after)
    assert (set(found), len(found)) == (wanted, len(wanted))


def test_values_of_the_same_keys_are_compared_side_by_side() -> None:
    """The usual case: one of them is another."""
    one, two, three = VALUES
    before = {"a": one, "b": two}
    assert changed(before, before) == []
    assert changed(before, {"a": one, "b": two}) == []
    assert changed(before, {"a": three, "b": two}) == ["a"]


class Lineage(RuleBasedStateMachine):
    """Tables that come from one another: what is known of a change has to be what a search finds."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Derived[int, object]] = [Derived(dict.fromkeys(range(200), VALUES[0]))]
        self.plain = dict(self.tables[0])

    @rule(
        sets=st.dictionaries(st.integers(0, 210), st.sampled_from(VALUES), max_size=3),
        more=st.dictionaries(st.integers(0, 210), st.sampled_from(VALUES), max_size=3),
        gone=st.sets(st.integers(0, 210), max_size=3),
    )
    def derive(self, sets: dict[int, object], more: dict[int, object], gone: set[int]) -> None:
        made = Derived(self.tables[-1])
        for key, value in sets.items():
            made[key] = value
        made.update(more)
        for key in gone & made.keys():
            del made[key]
        self.plain = {key: value for key, value in {**self.plain, **sets, **more}.items() if key not in gone}
        self.tables.append(made)

    @precondition(lambda self: len(self.tables) > 1)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """Nobody has one of them any more, so those after it cannot be followed back beyond it."""
        del self.tables[data.draw(st.integers(0, len(self.tables) - 2))]

    @invariant()
    def what_is_known_is_what_a_search_finds(self) -> None:
        last = self.tables[-1]
        assert last == self.plain
        for before in self.tables:
            found = changed(before, last)
            assert sorted(found) == sorted(changed(dict(before), dict(last)))


TestLineage = Lineage.TestCase


def test_it_is_known_without_a_search_and_keeps_nothing_alive() -> None:
    """As long as somebody has the tables between, and they are few."""
    first = Derived(dict.fromkeys(range(1000), VALUES[0]))
    second = Derived(first)
    second[7] = VALUES[1]
    third = Derived(second)
    del third[9]
    assert set(third.touched_since(first) or ()) == {7, 9}
    assert set(third.touched_since(second) or ()) == {9}
    watched = weakref.ref(second)
    del second
    assert watched() is None
    assert third.touched_since(first) is None
    assert set(changed(first, third)) == {7, 9}
    many = Derived(third)
    many.update(dict.fromkeys(range(500), VALUES[2]))
    assert many.touched_since(third) is None
