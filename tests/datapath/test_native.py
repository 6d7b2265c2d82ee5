"""The loops in C against the same in plain Python."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import count, islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer.model.errors import TargetError
from announcer.model.lb import Backend
from datapath import abi, flow, maglev, native, packet, rendezvous
from datapath.abi import NOBODY, SLOT_TRANSITION
from datapath.rows import Row
from tests.datapath import plain_rows
from tests.datapath.test_packet import flows_of

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


def first_ports(owners: Sequence[int], bits: int, sent: packet.Flow, ports: range, wanted: int) -> list[int]:
    hashes = [flow.flow_hash(sent.source, port, sent.dest, sent.dest_port, sent.protocol.number) for port in ports]
    owned = [owners[flow.slot(each, bits)] for each in hashes]
    return [ports[owned.index(position)] if position in owned else 0 for position in range(wanted)]


FLOWS = st.sampled_from([4, 6]).flatmap(flows_of)
PORTS = st.builds(lambda first, count: range(first, first + count), st.integers(1, 9), st.integers(0, 90))


@given(preferences(), FLOWS, PORTS, st.integers(0, 12))
def test_packets_are_aimed_by_slots(
    given: tuple[list[tuple[int, int]], int], sent: packet.Flow, ports: range, wanted: int
) -> None:
    owners, bits = native.maglev(*given), given[1]
    base = flow.hash_base(sent.source, sent.dest, sent.dest_port, sent.protocol.number)
    found = native.aim_by_slots(owners, bits, base, ports, wanted)
    assert found.tolist() == first_ports(owners, bits, sent, ports, wanted)


BACKENDS = st.sets(st.integers(0x0A000000, 0x0A0000FF), min_size=2, max_size=abi.RENDEZVOUS_MEMBERS).map(
    lambda numbers: [Backend(IPv4Address(number), 80) for number in sorted(numbers)]
)


@given(BACKENDS, FLOWS, PORTS, st.integers(0, 12))
def test_packets_are_aimed_by_preferences(
    backends: list[Backend], sent: packet.Flow, ports: range, wanted: int
) -> None:
    words, bits = maglev.preferences(backends), abi.RENDEZVOUS_BITS
    base = flow.hash_base(sent.source, sent.dest, sent.dest_port, sent.protocol.number)
    found = native.aim_by_preferences(words, rendezvous.ranks(), bits, base, ports, wanted)
    assert found.tolist() == first_ports(maglev.owners(backends), bits, sent, ports, wanted)


def test_an_entry_keeps_its_generation_and_its_next_hop_while_nothing_else_changes() -> None:
    table = bytearray(b"\xaa" * abi.BACKEND_BYTES * 4)
    size, generation = abi.BACKEND.size, bytes(table[:4])
    first, second = bytes(range(size)), bytes(range(1, size + 1))
    native.put_backends(memoryview(table), array("I", [3, 1]), first + second)

    def written(entry: bytes) -> bytes:
        return entry[: abi.GENERATION_AT] + generation + entry[abi.GENERATION_AT + 4 :]

    hops = bytes(abi.BACKEND_BYTES - size)
    untouched = b"\xaa" * abi.BACKEND_BYTES
    assert table == untouched + written(second) + hops + untouched + written(first) + hops
    table[-1] = table[2 * abi.BACKEND_BYTES - 1] = 7
    native.put_backends(memoryview(table), array("I", [3, 1]), first + first)
    assert table == untouched + written(first) + hops + untouched + written(first) + hops[:-1] + b"\7"


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


@given(st.lists(st.binary(min_size=12, max_size=12), max_size=9, unique=True), st.randoms(use_true_random=False))
def test_a_sum_is_that_of_any_order_and_of_no_other_entries(entries: list[bytes], random: Random) -> None:
    def added(entries: list[bytes]) -> int:
        keys, values = b"".join(each[:8] for each in entries), b"".join(each[8:] for each in entries)
        return native.entries_sum(keys, 8, values, 4)

    shuffled = random.sample(entries, len(entries))
    assert added(shuffled) == added(entries)
    for number, each in enumerate(entries):
        others = [*entries[:number], *entries[number + 1 :]]
        assert added(others) != added(entries)
        bit = random.randrange(96)
        changed = (int.from_bytes(each, "big") ^ 1 << bit).to_bytes(12, "big")
        assert added([*others, changed]) != added(entries)


class Watched:
    """Some blocks, one behind the other, of members that are all different."""

    def __init__(self, shapes: list[tuple[int, int]]) -> None:
        """``shapes``: members and further words of each."""
        members = sum(count for count, _ in shapes)
        self.rows = array("I", bytes(4 * sum(map(sum, shapes)) or 4))
        self.backends = bytearray(abi.BACKEND_BYTES * (members + 1))
        self.nodes = bytearray(abi.ADDRESS_BYTES * (members + 1))
        self.blocks: list[tuple[int, int, int]] = []
        numbers, at = count(1), 0
        for each, more in shapes:
            self.rows[at : at + each] = array("I", islice(numbers, each))
            self.blocks.append((at, each + more, each))
            at += each + more
        memory = (memoryview(self.rows), memoryview(self.backends), memoryview(self.nodes))
        self.watch = native.Watch(*memory, members + 1)
        self.slots = [self.watch.take() for _ in shapes]
        for slot, block in zip(self.slots, self.blocks, strict=True):
            self.watch.begin(slot, *block)

    def all_in_turns(self, size: int) -> set[int]:
        """As many looks as it may take."""
        return set().union(*(self.watch.some_differing(size) for _ in range(2 * len(self.slots) + 2)))


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 40)), min_size=1, max_size=100), st.data())
def test_every_bit_of_a_block_and_its_backends_is_watched(shapes: list[tuple[int, int]], data: st.DataObject) -> None:
    made = Watched(shapes)
    assert made.watch.differing() == made.all_in_turns(1) == set()
    number = data.draw(st.integers(0, len(shapes) - 1))
    at, length, members = made.blocks[number]
    backend = made.rows[at + data.draw(st.integers(0, members - 1))]
    match data.draw(st.sampled_from(["word", "backend", "node"])):
        case "word":
            made.rows[at + data.draw(st.integers(0, length - 1))] ^= 1 << data.draw(st.integers(0, 31))
        case "backend":
            place = abi.BACKEND_BYTES * backend + data.draw(st.integers(0, abi.BACKEND.size - 1))
            made.backends[place] ^= 1 << data.draw(st.integers(0, 7))
        case "node":
            made.backends[abi.BACKEND_BYTES * backend + abi.BACKEND_FLAGS_AT] = abi.BackendFlag.GENEVE
            made.watch.begin(made.slots[number], *made.blocks[number])
            assert made.watch.differing() == set()
            made.nodes[abi.ADDRESS_BYTES * backend + data.draw(st.integers(0, 15))] ^= 1 << data.draw(st.integers(0, 7))
    assert made.watch.differing() == made.all_in_turns(100) == {made.slots[number]}
    assert [made.watch.same(slot) for slot in made.slots] == [slot != made.slots[number] for slot in made.slots]
    made.watch.give(made.slots[number])
    assert made.watch.differing() == set()
    assert made.watch.take() == made.slots[number], "it is used again"


def test_more_blocks_than_are_told_of_at_a_time() -> None:
    made = Watched([(1, 1)] * 300)
    for at, _, _ in made.blocks:
        made.rows[at + 1] ^= 1
    assert made.watch.differing() == made.all_in_turns(1) == set(made.slots)
