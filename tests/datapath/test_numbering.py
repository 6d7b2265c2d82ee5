"""Ids of a frontend of few backends lie close together, over all that becomes of it."""

from __future__ import annotations

import errno

import pytest

from announcer.model.errors import TargetError
from datapath import abi
from datapath.extents import Extents
from datapath.numbering import take

FEW = abi.SHORTCUT_MEMBERS


def ids(size: int = 256) -> Extents:
    """Id 0 means none."""
    return Extents(size, rest=1.0).taken_by([(0, 1)])


def new(free: Extents, missing: int, *held: int, now: float = 0.0) -> list[int]:
    taken: list[int] = []
    take(free, held, missing, now, taken)
    return taken


def near(numbers: list[int]) -> bool:
    return max(numbers) - min(numbers) <= abi.SHORTCUT_NEAR


def test_few_are_in_a_row_and_in_a_window_of_their_own() -> None:
    free = ids(64)
    assert [new(free, count) for count in (FEW, 2, 3)] == [[*range(1, 11)], [16, 17], [32, 33, 34]]
    assert new(free, FEW) == [*range(48, 58)]
    assert new(free, 3) == [11, 12, 13], "who fits into the rest of a window gets it when no other is left"


def test_who_comes_later_is_near() -> None:
    free = ids()
    mine = new(free, 4)
    assert not near([*mine, *new(free, FEW)])
    mine += new(free, FEW - 4, *mine)
    assert near(mine)


@pytest.mark.parametrize(("replicas", "surge"), [(3, 1), (8, 2), (FEW, 2)])
def test_a_rolling_update_stays_near(replicas: int, surge: int) -> None:
    """Each time some come before others go, and what goes rests for a second."""
    free = ids()
    others, mine = [new(free, 8) for _ in range(5)], new(free, replicas)
    for second in range(50):
        mine += new(free, surge, *mine, now=float(second))
        assert near(mine)
        for _ in range(surge):
            free.give(mine.pop(0), 1, float(second))
    assert set(mine).isdisjoint(number for each in others for number in each)


def test_where_the_window_is_full_any_will_do() -> None:
    free = ids(48)
    assert [new(free, 5), new(free, FEW), new(free, FEW)] == [[*range(1, 6)], [*range(16, 26)], [*range(32, 42)]]
    assert new(free, FEW) == [*range(6, 16)]
    assert new(free, 2, *range(1, 6)) == [26, 27]


def test_many_are_in_a_row_if_that_can_be() -> None:
    free = ids(64)
    assert new(free, 16) == list(range(1, 17))
    for number in range(18, 60, 3):
        assert free.take_one(number, number + 1, 0.0) == number
    assert new(free, 16) == [17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35, 37, 38, 40]


def test_few_where_no_window_is_free() -> None:
    free = ids(16 + 8)
    assert new(free, 8) == list(range(1, 9))
    assert new(free, FEW) == list(range(9, 19)), "a row, though not within a window"


def test_none_is_left() -> None:
    free = ids(4)
    assert new(free, 2) == [1, 2]
    taken: list[int] = []
    with pytest.raises(TargetError) as caught:
        take(free, [1, 2], 2, 0.0, taken)
    assert caught.value.errno == errno.ENOSPC
    assert taken == [3], "so that it can be given back"
