"""The loops in C against the same in plain Python."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer.model.errors import TargetError
from datapath import native
from datapath.abi import NOBODY, SLOT_TRANSITION
from datapath.rows import Row
from tests.datapath import plain_rows

BITS = st.integers(0, 7)


@st.composite
def preferences(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int]:
    bits = draw(BITS)
    walk = st.tuples(st.integers(0, (1 << bits) - 1), st.integers(0, (1 << bits) - 1).map(lambda skip: skip | 1))
    return draw(st.lists(walk, min_size=1, max_size=9)), bits


@given(preferences())
def test_maglev(given: tuple[list[tuple[int, int]], int]) -> None:
    assert native.maglev(*given).tolist() == plain_rows.maglev(*given)


@given(preferences(), st.randoms(use_true_random=False))
def test_rendezvous(given: tuple[list[tuple[int, int]], int], random: object) -> None:
    ranks = list(range(1 << given[1]))
    random.shuffle(ranks)  # type: ignore[attr-defined]
    assert native.rendezvous(*given, array("I", ranks)).tolist() == plain_rows.rendezvous(*given, ranks)


@st.composite
def row(draw: st.DrawFn) -> tuple[Row, int]:
    """With so many members; as damaged as may be."""
    members, bits, previous_bits = draw(st.integers(1, 5)), draw(BITS), draw(BITS)
    position = st.one_of(st.integers(0, members + 1), st.just(NOBODY))
    flag = st.sampled_from([0, SLOT_TRANSITION])
    slots = [draw(position) | draw(flag) for _ in range(1 << bits)]
    previous = [draw(position) for _ in range(1 << previous_bits)] if previous_bits else []
    return Row(bits, array("H", slots), previous_bits, array("H", previous)), members


@given(row(), BITS, st.data())
@settings(max_examples=50)
def test_follow(given: tuple[Row, int], bits: int, data: st.DataObject) -> None:
    old, members = given
    moved = [data.draw(st.sampled_from([0, 1, 2, NOBODY])) for _ in range(members)]
    owners = [data.draw(st.integers(0, 2)) for _ in range(1 << bits)]
    wanted = plain_rows.follow(old, moved, owners, bits)
    slots = array("H", owners)
    previous, changed = native.follow(old, array("H", moved), slots, bits, wanted.previous_bits)
    assert (slots, previous) == (wanted.slots, wanted.previous)
    assert changed == any(slot & SLOT_TRANSITION for slot in slots)


@given(st.lists(st.integers(0, 0xFFFF), max_size=50), st.data())
def test_same_owners(slots: list[int], data: st.DataObject) -> None:
    flagged = [slot ^ data.draw(st.sampled_from([0, SLOT_TRANSITION])) for slot in slots]
    assert native.same_owners(array("H", slots), array("H", flagged))
    assert not native.same_owners(array("H", slots), array("H", [*flagged, 0]))
    if slots:
        at = data.draw(st.integers(0, len(slots) - 1))
        flagged[at] ^= 1 << data.draw(st.integers(0, 14))
        assert not native.same_owners(array("H", slots), array("H", flagged))


def test_not_built_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_PATH", native._PATH.with_name("nowhere.so"))
    native._lib.cache_clear()
    try:
        with pytest.raises(TargetError, match="run `make -C datapath`"):
            native.maglev([(0, 1)], 0)
    finally:
        native._lib.cache_clear()
