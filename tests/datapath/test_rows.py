"""The rule of flow state as a model: random changes of backends, flows, and walks, in any order.

The one thing that must hold: a flow whose backend serves or terminates gracefully goes to that backend.
"""

from __future__ import annotations

from array import array
from ipaddress import IPv4Address
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from announcer.model.lb import Backend
from datapath import maglev, native, rows
from datapath.abi import NARROW_MEMBERS, NOBODY, SLOT_TRANSITION

POOL = tuple(Backend(IPv4Address(0x0AF40100 + i), 8080, True) for i in range(9))


class Model(RuleBasedStateMachine):
    """Flows are hashes; ``flows`` names the backend of each, ``entries`` what the program remembers."""

    @initialize(chosen=st.sets(st.sampled_from(POOL), min_size=1, max_size=8))
    def start(self, chosen: set[Backend]) -> None:
        self.serving: tuple[Backend, ...] = tuple(sorted(chosen))
        self.terminating: tuple[Backend, ...] = ()
        self.row = rows.steady(self.serving)
        self.flows: dict[int, Backend] = {}
        self.entries: dict[int, Backend] = {}

    @property
    def members(self) -> tuple[Backend, ...]:
        return (*self.serving, *self.terminating)

    def send(self, value: int, *, opens: bool) -> Backend | None:
        """What ``bpf/lb_flow.h`` does."""
        members = self.members
        known = self.entries.get(value)
        flagged = self.row.slots[value >> (32 - self.row.bits) if self.row.bits else 0] & SLOT_TRANSITION
        if flagged and known in members:
            return known
        position = self.row.without_entry(value, opens=opens)
        found = None if position == NOBODY else members[position]
        if flagged and found:
            self.entries[value] = found
        return found

    @rule(value=st.integers(0, 0xFFFFFFFF))
    def open(self, value: int) -> None:
        if value not in self.flows:
            self.entries.pop(value, None)
            found = self.send(value, opens=True)
            assert found is None or found in self.serving
            if found:
                self.flows[value] = found

    @precondition(lambda self: self.flows)
    @rule(data=st.data())
    def packet(self, data: st.DataObject) -> None:
        value = data.draw(st.sampled_from(sorted(self.flows)))
        assert self.send(value, opens=False) == self.flows[value]

    @rule(value=st.integers(0, 0xFFFFFFFF), data=st.data())
    def end(self, value: int, data: st.DataObject) -> None:
        if self.flows:
            ended = data.draw(st.sampled_from(sorted(self.flows)))
            del self.flows[ended]
            self.entries.pop(ended, None)

    @rule(serving=st.sets(st.sampled_from(POOL), max_size=8), terminating=st.sets(st.sampled_from(POOL), max_size=3))
    def change(self, serving: set[Backend], terminating: set[Backend]) -> None:
        """Only a backend that is there can begin to terminate."""
        new = tuple(sorted(serving))
        old = tuple(sorted((terminating & set(self.members)) - serving))
        self.row = rows.follow(self.row, self.members, new, old)
        self.serving, self.terminating = new, old
        self.flows = {value: backend for value, backend in self.flows.items() if backend in self.members}
        self.entries = {value: backend for value, backend in self.entries.items() if backend in self.members}
        assert self.row.bits == rows.steady(new).bits
        assert array("H", [slot & NOBODY for slot in self.row.slots]) == rows.steady(new).slots

    @rule(opens=st.booleans(), kept=st.integers(0, 8))
    def reach(self, opens: bool, kept: int) -> None:
        bits = max(self.row.bits, self.row.previous_bits)
        hashes = (fine << (32 - bits) if bits else 0 for fine in range(1 << bits))
        found = {self.row.without_entry(value, opens=opens, kept=kept) for value in hashes}
        assert self.row.reachable(opens=opens, kept=kept) == found - {NOBODY}

    @rule()
    def walk(self) -> None:
        positions = {backend: position for position, backend in enumerate(self.members)}
        entries = [(value, positions[backend]) for value, backend in self.entries.items()]
        self.row = rows.settle(self.row, entries, unseen_are_dead=False)

    @rule()
    def every_flow_is_seen(self) -> None:
        for value, backend in self.flows.items():
            assert self.send(value, opens=False) == backend


Model.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestModel = Model.TestCase


class ModelOfMaglev(Model):
    """Slots of the others move too, and lengths change at 3 and 7 backends; that needs many where it is the rule."""

    def __init__(self) -> None:
        super().__init__()
        ladder = ((2, 4), (6, 6), (200, 8), (0x7FFE, 16))
        self._patch = patch.multiple(maglev, LADDER=ladder, _FEW=0)
        self._patch.start()
        maglev._owners.cache_clear()

    def teardown(self) -> None:
        self._patch.stop()
        maglev._owners.cache_clear()


ModelOfMaglev.TestCase.settings = Model.TestCase.settings
TestModelOfMaglev = ModelOfMaglev.TestCase


sets = st.sets(st.sampled_from(POOL), min_size=1).map(lambda chosen: tuple(sorted(chosen)))


@given(sets, sets)
@settings(max_examples=40, deadline=None)
def test_a_dead_backend_makes_no_transition(before: tuple[Backend, ...], after: tuple[Backend, ...]) -> None:
    first, last = rows.steady(before), rows.steady(after)
    row = rows.follow(first, before, after, ())
    for value in range(0, 1 << 32, 1 << 18):
        old = before[first.owner(value)]
        expected = old if old in after else after[row.owner(value)]
        assert after[row.without_entry(value, opens=False)] == expected
        assert after[row.without_entry(value, opens=True)] == after[last.owner(value)]
    assert rows.follow(first, before, before, ()) == first


def test_an_added_backend_brings_only_its_share_into_transition() -> None:
    row = rows.follow(rows.steady(POOL[:8]), POOL[:8], POOL, ())
    share = sum(1 for slot in row.slots if slot & SLOT_TRANSITION) / len(row.slots)
    assert abs(share - 1 / 9) <= 0.02


def test_a_graceful_end_is_in_transition_until_it_is_over() -> None:
    leaving, rest = POOL[0], POOL[1:8]
    row = rows.follow(rows.steady(POOL[:8]), POOL[:8], rest, (leaving,))
    assert row.in_transition
    assert rows.settle(row, [], unseen_are_dead=False).in_transition
    gone = rows.follow(row, (*rest, leaving), rest, ())
    # Not one slot went from one of the others to another: there is nothing to wait for.
    assert rows.settle(gone, [], unseen_are_dead=False) == rows.steady(rest)


def test_a_flow_that_was_not_seen_for_the_whole_window_counts_as_dead() -> None:
    row = rows.follow(rows.steady(POOL[:3]), POOL[:3], POOL[:4], ())
    assert rows.settle(row, [], unseen_are_dead=False) == row
    assert rows.settle(row, [], unseen_are_dead=True) == rows.steady(POOL[:4])
    value = next(
        v for v in range(0, 1 << 32, 1 << 20) if row.without_entry(v, opens=False) != row.without_entry(v, opens=True)
    )
    kept = rows.settle(row, [(value, row.without_entry(value, opens=False))], unseen_are_dead=True)
    assert sum(1 for slot in kept.slots if slot & SLOT_TRANSITION) == 1


def narrowed(slots: array[int]) -> array[int]:
    """Written and read again."""
    room = bytearray(len(slots))
    native.narrow(slots, memoryview(room))
    return native.widen(memoryview(room))


def test_slots_of_eight_bits_come_back() -> None:
    every = [*range(NARROW_MEMBERS), NOBODY]
    slots = array("H", [*every, *(slot | SLOT_TRANSITION for slot in every)])
    assert narrowed(slots) == slots
    assert narrowed(array("H", every)) == array("H", every)
