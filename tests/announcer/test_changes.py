"""What has changed between two tables."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from announcer.model.changes import changed

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
