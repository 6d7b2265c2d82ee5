"""What is free, against a model that marks every single unit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from datapath.extents import Extents

SIZE, REST = 64, 2.0


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.extents = Extents(SIZE, rest=REST)
        self.held: list[tuple[int, int]] = []
        self.resting: list[tuple[float, int, int]] = []
        self.now = 0.0

    def busy(self) -> set[int]:
        taken = [*self.held, *((offset, length) for until, offset, length in self.resting if until > self.now)]
        return {unit for offset, length in taken for unit in range(offset, offset + length)}

    @rule(length=st.integers(1, 20), page=st.sampled_from([0, 20, 32]), more=st.sampled_from([0, 0, 5]))
    def take(self, length: int, page: int, more: int) -> None:
        busy = self.busy()
        room = min(length + more, page or SIZE)
        starts = [at for at in range(SIZE - room + 1) if not page or at % page + room <= page]
        there = [at for at in starts if not busy & set(range(at, at + room))]
        offset = self.extents.take(length, self.now, page=page, room=room if more else 0)
        assert (offset in there) if there else offset is None
        if offset is not None:
            self.held.append((offset, length))

    @rule(first=st.integers(0, SIZE), window=st.integers(0, 20))
    def take_one(self, first: int, window: int) -> None:
        free = set(range(first, min(first + window, SIZE))) - self.busy()
        found = self.extents.take_one(first, first + window, self.now)
        assert found == min(free, default=None)
        if found is not None:
            self.held.append((found, 1))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        offset, length = data.draw(st.sampled_from(self.held))
        self.held.remove((offset, length))
        self.extents.give(offset, length, self.now)
        self.resting.append((self.now + REST, offset, length))

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def rebuild(self) -> None:
        self.extents = self.extents.taken_by(self.held)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.extents.free() == SIZE - sum(length for _, length in self.held)


TestModel = Model.TestCase


@given(st.lists(st.tuples(st.integers(0, SIZE + 10), st.integers(0, 30)), max_size=8))
def test_any_damage_in_what_was_read_back_is_taken(used: list[tuple[int, int]]) -> None:
    extents = Extents(SIZE, rest=REST).taken_by(used)
    marked = {unit for offset, length in used for unit in range(offset, min(offset + length, SIZE))}
    assert extents.free() == SIZE - len(marked)
    while (offset := extents.take(1, 0.0)) is not None:
        assert offset not in marked


def test_what_was_given_back_rests() -> None:
    extents = Extents(4, rest=REST)
    assert extents.take(4, 0.0) == 0
    extents.give(0, 4, 10.0)
    assert extents.take(1, 11.9) is None
    assert extents.take(1, 12.0) == 0


def test_what_is_given_back_is_found_though_all_before_was_taken() -> None:
    extents = Extents(4, rest=REST)
    assert [extents.take(1, 0.0) for _ in range(5)] == [0, 1, 2, 3, None]
    extents.give(1, 1, 0.0)
    assert extents.take(1, REST) == 1
