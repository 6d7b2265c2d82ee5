"""Frontends are found by their shortcuts, and never by one that says something else than ``lb_frontends``."""

from __future__ import annotations

import struct
from array import array
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import Protocol
from datapath import abi, blocks, encode, loader, native, probe, rendezvous, settle, shim
from datapath.abi import PacketReason
from datapath.hand import Datapath
from datapath.maps import HashMap, MappedArray
from datapath.shortcuts import Shortcuts, place_of
from tests.datapath.frames import SENDER
from tests.datapath.node import (
    CLIENT,
    CLIENT6,
    LOCAL,
    REMOTE,
    REMOTE6,
    SMALL,
    VIP,
    VIP6,
    Node,
    done,
    foreign,
    frontend,
    moved,
    observe,
    program,
    proven,
    remove,
)

pytestmark = pytest.mark.root

TO_REMOTE, TO_BOTH = frontend(REMOTE), frontend(LOCAL, REMOTE)
RAW = encode.frontend_key(TO_REMOTE.key)


@pytest.fixture
def datapath(node: Node) -> Datapath:
    """It serves, by a shortcut."""
    made = node.attached()
    done(program(made, TO_REMOTE))
    proven(made, TO_REMOTE)
    filled(made)
    return made


def filled(datapath: Datapath) -> None:
    """One look sees that a line says nothing, and after its rest (none here) the next one fills it."""
    observe(datapath)
    observe(datapath)


def number_of(datapath: Datapath, key: bytes = RAW) -> int:
    """Of its line; 0 if it has none."""
    found: int = datapath._loaded.maps.places.bytes.cast("H")[place_of(key)]
    return found


def at(datapath: Datapath, key: bytes = RAW) -> int:
    """Where its line is, in bytes. It has one."""
    assert number_of(datapath, key)
    return number_of(datapath, key) * abi.SHORTCUT_BYTES


def line(datapath: Datapath, key: bytes = RAW) -> Line | None:
    """What it says, if it says anything."""
    return Line.of(datapath._loaded.maps.shortcuts.bytes[at(datapath, key) :]) if number_of(datapath, key) else None


class Line(NamedTuple):
    """A line that has the entry; ``flags`` are those of one that has the preferences."""

    key: bytes
    entry: bytes
    members: int
    flags: int

    @classmethod
    def of(cls, memory: memoryview) -> Line | None:
        found = memory[: abi.SHORTCUT_BYTES].tobytes()
        begins, members, flags, protocol, port, vip = struct.unpack("=BBBB2s2x16s", found[:24])
        key = vip + port + bytes([protocol, 0])
        return cls(key, found[24:44], members, flags) if begins else None


def spoil(datapath: Datapath, offset: int) -> None:
    """Another number of members, or whatever else stands there."""
    datapath._loaded.maps.shortcuts.bytes[at(datapath) + offset] ^= 1


TO_VIP, TO_VIP6 = IP(src=str(CLIENT), dst=str(VIP)), IPv6(src=str(CLIENT6), dst=str(VIP6))
FOR_TCP = TCP(sport=40000, dport=80, flags="S")


def ends(node: Node, datapath: Datapath, packet: Packet = TO_VIP / FOR_TCP) -> PacketReason:
    return probe.run(datapath._prog, node.link().ifindex, framed(node, packet)).reason


def framed(node: Node, packet: Packet) -> bytes:
    return bytes(Ether(src=SENDER, dst=node.link().address.hex(":")) / packet)


#: Packets whose line is foreseen from where a transport header stands mostly, and others, where something else stands.
PLACES: dict[str, Packet] = {
    "IPv4": TO_VIP / FOR_TCP,
    "IPv4 UDP": TO_VIP / UDP(sport=40000, dport=80),
    "IPv4 SCTP": TO_VIP / SCTP(sport=40000, dport=80) / SCTPChunkInit(),
    "IPv4 with options": IP(src=str(CLIENT), dst=str(VIP), options=[IPOption_NOP()] * 8) / FOR_TCP,
    "IPv6": TO_VIP6 / FOR_TCP,
    "IPv6 UDP": TO_VIP6 / UDP(sport=40000, dport=80),
    "IPv6 SCTP": TO_VIP6 / SCTP(sport=40000, dport=80) / SCTPChunkInit(),
    "IPv6 with a destination option": TO_VIP6 / IPv6ExtHdrDestOpt() / FOR_TCP,
    "IPv6 with a fragment header": TO_VIP6 / IPv6ExtHdrFragment(m=0, id=7) / FOR_TCP,
}


def by_its_line_only(node: Node, wanted: Frontend) -> tuple[Datapath, bytes]:
    """A node that serves this, and has nothing but the line to know it from; and the frontend's key."""
    datapath = node.attached()
    done(program(datapath, wanted))
    proven(datapath, wanted)
    filled(datapath)
    raw = encode.frontend_key(wanted.key)
    foreign(datapath._loaded.maps.frontends).remove(raw)
    return datapath, raw


@pytest.mark.parametrize("packet", PLACES.values(), ids=PLACES.keys())
def test_a_packet_finds_the_shortcut(node: Node, packet: Packet) -> None:
    """Without the line nobody serves."""
    protocol = Protocol.TCP if TCP in packet else Protocol.UDP if UDP in packet else Protocol.SCTP
    six = IPv6 in packet
    key = FrontendKey(VIP6 if six else VIP, protocol, 80)
    datapath, raw = by_its_line_only(node, Frontend(key=key, backends=(REMOTE6 if six else REMOTE,)))
    assert ends(node, datapath, packet) is PacketReason.REMOTE_TX
    datapath._loaded.maps.shortcuts.words[at(datapath, raw) // 4] = 0
    assert ends(node, datapath, packet) is PacketReason.NO_SERVICE


def test_all_fragments_of_a_packet_find_the_shortcut(node: Node) -> None:
    """Only the first one has ports; what stands in their place in the others is data. Probes would leave no trace."""
    datapath, _ = by_its_line_only(node, TO_REMOTE)
    before = datapath.counters()
    fragments = fragment(IP(src=str(CLIENT), dst=str(VIP), id=7) / FOR_TCP / (b"x" * 1600), 800)
    for each in fragments:
        shim.run_xdp(datapath._prog, node.link().ifindex, framed(node, each), b"")
    assert moved(datapath, before) == {PacketReason.REMOTE_TX: len(fragments)}
    assert len(fragments) == 3


def test_a_line_is_cleared_before_the_entry_changes(datapath: Datapath, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    put, delete = HashMap.put, HashMap.remove

    def watched_put(table: HashMap, key: bytes, value: bytes) -> None:
        if table.name == "lb_frontends":
            seen.append(line(datapath))
        put(table, key, value)

    def watched_remove(table: HashMap, key: bytes) -> None:
        if table.name == "lb_frontends":
            seen.append(line(datapath))
        delete(table, key)

    monkeypatch.setattr(HashMap, "put", watched_put)
    monkeypatch.setattr(HashMap, "remove", watched_remove)
    assert line(datapath)
    done(program(datapath, TO_BOTH))
    filled(datapath)
    assert says(datapath, TO_BOTH)
    held = datapath._tables.frontends[TO_BOTH.key]
    datapath._tables.replace_row(TO_BOTH.key, blocks.read_row(datapath._loaded.maps, held.entry), 0.0)
    filled(datapath)
    assert says(datapath, TO_BOTH)
    done(remove(datapath, TO_BOTH.key))
    assert seen == [None] * 3


def says(datapath: Datapath, wanted: Frontend) -> bool:
    """The line of a frontend says what its entry does."""
    found, entry = line(datapath, encode.frontend_key(wanted.key)), datapath._tables.frontends[wanted.key].entry
    assert found is not None
    if found.flags & abi.FrontendFlag.HERE:
        return (found.members, found.flags & entry.flags) == (entry.members, entry.flags)
    return found.entry == entry.pack()


def many(count: int) -> Frontend:
    return frontend(*(Backend(IPv4Address("10.244.2.10") + number, 8080) for number in range(count)))


def chosen(datapath: Datapath, node: Node) -> list[int]:
    """The backend ids of flows from a hundred ports."""
    link = node.link()
    head = Ether(src=SENDER, dst=link.address.hex(":")) / IP(src=str(CLIENT), dst=str(VIP))
    ports = range(40000, 40100)
    return [probe.run(datapath._prog, link.ifindex, bytes(head / TCP(sport=port, dport=80))).backend for port in ports]


@pytest.mark.parametrize("count", [2, 3, abi.SHORTCUT_MEMBERS, abi.SHORTCUT_MEMBERS + 1])
def test_the_members_of_few_backends_are_in_the_line(node: Node, count: int) -> None:
    """All flows go where they went before there was a line; nothing else is asked, as far as there is room."""
    datapath, wanted = node.attached(), many(count)
    done(program(datapath, wanted))
    proven(datapath, wanted)
    by_block = chosen(datapath, node)
    assert len(set(by_block)) == count
    filled(datapath)
    assert chosen(datapath, node) == by_block
    blot(datapath, wanted)
    assert chosen(datapath, node) == (by_block if count <= abi.SHORTCUT_MEMBERS else [0] * len(by_block))


def blot(datapath: Datapath, wanted: Frontend, first: int = 0) -> None:
    """Let the block of a frontend say nothing, from this word on."""
    entry = datapath._tables.frontends[wanted.key].entry
    rows = datapath._loaded.maps.rows.words
    rows[entry.block + first : entry.block + entry.length] = memoryview(array("I", [0] * (entry.length - first)))


def test_ids_that_are_far_apart_are_taken_from_the_block(node: Node) -> None:
    """Two backends that were there before have ids of their own. The preferences are in the line all the same."""
    datapath = node.attached()
    wanted = many(3)
    first, *_, third = wanted.backends
    for port, backends in ((81, [first]), (82, many(30).backends[3:]), (83, [third])):
        done(program(datapath, frontend(*backends, port=port)))
    done(program(datapath, wanted))
    proven(datapath, wanted)
    by_block = chosen(datapath, node)
    assert max(by_block) - min(by_block) > abi.SHORTCUT_NEAR
    filled(datapath)
    found = line(datapath)
    assert found is not None
    assert found.flags & (abi.FrontendFlag.HERE | abi.FrontendFlag.NEAR) == abi.FrontendFlag.HERE
    blot(datapath, wanted, len(wanted.backends))
    assert chosen(datapath, node) == by_block
    blot(datapath, wanted)
    assert chosen(datapath, node) == [0] * len(by_block)


def test_ids_stay_close_together_in_a_rolling_update(node: Node) -> None:
    """One backend comes, another goes, and those of the frontends beside it stay where they are."""
    datapath, pool = node.attached(), many(16).backends
    done(program(datapath, frontend(*pool[:4])))
    for port, first in ((81, 10), (82, 13)):
        done(program(datapath, frontend(*pool[first : first + 3], port=port)))
    for step in range(6):
        for members in (pool[step : step + 5], pool[step + 1 : step + 5]):
            done(program(datapath, frontend(*members)))
            numbers = datapath._tables.frontends[TO_REMOTE.key].numbers
            assert max(numbers) - min(numbers) <= abi.SHORTCUT_NEAR


@given(
    preferences=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 2047)), min_size=2, max_size=10),
    turns=st.permutations(range(10)),
    first=st.integers(1, 1000),
    spread=st.permutations(range(16)),
    far=st.sampled_from([0, 0, 1, 16, 5000]),
)
@example(preferences=[(1, 2), (3, 4)], turns=[0, 1], first=7, spread=[0, abi.SHORTCUT_NEAR], far=0)
@example(preferences=[(1, 2), (3, 4)], turns=[0, 1], first=7, spread=[0, abi.SHORTCUT_NEAR], far=1)
def test_whoever_a_slot_is_dearest_to_is_the_same_by_the_line(
    preferences: list[tuple[int, int]], turns: list[int], first: int, spread: list[int], far: int
) -> None:
    """Whatever the preferences, also when a slot is as dear to two, and wherever the ids are; on paper."""
    count = len(preferences)
    words = [
        rendezvous.word((offset, 2 * half + 1), turn, position)
        for position, ((offset, half), turn) in enumerate(zip(preferences, turns, strict=False))
    ]
    numbers = [first + step for step in spread[:count]]
    numbers[-1] += far
    memory = memoryview(bytearray(abi.SHORTCUT_BYTES))
    rows = memoryview(array("I", [7, *numbers, *words])).cast("B")
    lines = native.Lines(memory, rows)
    entry = blocks.Entry(1, count, count, abi.RENDEZVOUS_BITS, 0, abi.FrontendFlag.RENDEZVOUS)
    lines.put(0, RAW, entry.pack())
    lines.close()
    owners = rendezvous.row(tuple(words))
    assert bool(memory[2] & abi.FrontendFlag.NEAR) is (max(numbers) - min(numbers) <= abi.SHORTCUT_NEAR)
    assert [_dearest(memory.tobytes(), rows.cast("I"), slot) for slot in range(0, 4096, 7)] == [
        numbers[owners[slot]] for slot in range(0, 4096, 7)
    ]


def _dearest(line: bytes, rows: memoryview, slot: int) -> int:
    """What ``dearest_here()`` says (``bpf/lb_rendezvous.h``)."""
    _, members, flags, *_ = line
    ranks = memoryview(rendezvous.ranks()).cast("H")
    (first,) = struct.unpack("=I", line[24:28])
    dear = []
    for turn in range(members):
        word = int.from_bytes(line[28 + 3 * turn : 31 + 3 * turn], "little")
        dear.append((ranks[(word + slot * (word >> 12)) % 4096], -turn))
    turn = -max(dear)[1]
    position = line[58 + turn // 2] >> 4 * (turn % 2) & 15
    return int(first + position if flags & abi.FrontendFlag.NEAR else rows[first + position])


@pytest.mark.parametrize("offset", [1, 2, 24, 28, 31, 33, 58])
def test_members_in_a_line_that_somebody_changes_are_found_out(node: Node, offset: int) -> None:
    datapath, wanted = node.attached(), many(2)
    done(program(datapath, wanted))
    filled(datapath)
    flows = chosen(datapath, node)
    spoil(datapath, offset)
    observe(datapath)
    assert not line(datapath)
    assert chosen(datapath, node) == flows
    filled(datapath)
    assert says(datapath, wanted)


def test_a_block_outside_of_the_rows_is_not_taken_into_a_line(node: Node) -> None:
    """An entry that somebody has damaged."""
    datapath, wanted = node.attached(), many(2)
    done(program(datapath, wanted))
    maps = datapath._loaded.maps
    lines = native.Lines(maps.shortcuts.bytes, maps.rows.bytes)
    entry = datapath._tables.frontends[wanted.key].entry
    end = len(maps.rows.words)
    for block, members, taken in ((entry.block, 2, True), (end - 3, 2, False), (0xFFFFFFFF, 2, False), (end, 0, False)):
        damaged = entry._replace(block=block, members=members).pack()
        lines.put(0, RAW, damaged)
        found = Line.of(maps.shortcuts.bytes)
        assert found is not None
        assert found.flags & abi.FrontendFlag.HERE > 0 if taken else found == Line(RAW, damaged, 0, 0)
    lines.close()


def test_who_lets_in_some_clients_only_has_the_entry_in_the_line(node: Node) -> None:
    """It says which, and there is no other room for it."""
    datapath = node.attached()
    wanted = msgspec.structs.replace(many(2), source_ranges=(IPv4Network("198.51.100.0/24"),))
    done(program(datapath, wanted))
    filled(datapath)
    raw = encode.frontend_key(wanted.key)
    entry = datapath._tables.frontends[wanted.key].entry
    assert entry.sources
    assert line(datapath) == Line(raw, entry.pack(), 0, 0)
    assert ends(node, datapath) is PacketReason.REMOTE_TX
    stranger = IP(src="192.0.2.1", dst=str(VIP)) / FOR_TCP
    assert ends(node, datapath, stranger) is PacketReason.SOURCE_NOT_ALLOWED


def test_what_is_removed_is_not_found(node: Node, datapath: Datapath) -> None:
    other = frontend(REMOTE, port=81)
    done(program(datapath, other))
    done(remove(datapath, TO_REMOTE.key))
    assert ends(node, datapath) is PacketReason.NO_SERVICE
    filled(datapath)
    assert ends(node, datapath) is PacketReason.NO_SERVICE


@pytest.mark.parametrize("offset", [0, 1, 3, 4, 8, 23, 24, 28, 30, 43])
def test_a_line_that_somebody_changes_is_cleared_and_filled_again(node: Node, datapath: Datapath, offset: int) -> None:
    right = line(datapath)
    spoil(datapath, offset)
    observe(datapath)
    assert not line(datapath)
    assert ends(node, datapath) is PacketReason.REMOTE_TX
    filled(datapath)
    assert line(datapath) == right


@pytest.mark.parametrize("number", [0, 2], ids=["what places without a line have", "one that was given back"])
def test_a_line_that_nobody_wrote_is_cleared(datapath: Datapath, number: int) -> None:
    lines, spare = datapath._loaded.maps.shortcuts, frontend(REMOTE, port=81)
    done(program(datapath, spare))
    filled(datapath)
    assert number_of(datapath, encode.frontend_key(spare.key)) == 2
    done(remove(datapath, spare.key))
    filled(datapath)
    lines.words[number * abi.SHORTCUT_BYTES // 4] = 4
    observe(datapath)
    assert lines.words[number * abi.SHORTCUT_BYTES // 4] == 0


@pytest.mark.parametrize("number", [0, 1, 2, 65535])
def test_a_way_to_a_line_that_somebody_changes_is_mended(node: Node, datapath: Datapath, number: int) -> None:
    """To none, to that of another, to one that says nothing: no harm comes of it meanwhile."""
    other = frontend(LOCAL, port=81)
    done(program(datapath, other))
    filled(datapath)
    places = datapath._loaded.maps.places.bytes.cast("H")
    right = number_of(datapath)
    others = number_of(datapath, encode.frontend_key(other.key))
    assert {right, others} == {1, 2}
    places[place_of(RAW)] = others if number == right else number
    assert ends(node, datapath) is PacketReason.REMOTE_TX
    observe(datapath)
    assert number_of(datapath) == 0
    filled(datapath)
    assert number_of(datapath) in (1, 2)
    assert says(datapath, TO_REMOTE)
    assert says(datapath, other)


@pytest.mark.parametrize(
    "packet",
    [
        TO_VIP / TCP(sport=40000, dport=81, flags="S"),
        TO_VIP / UDP(sport=40000, dport=80),
        IP(src=str(CLIENT), dst=str(VIP + 1)) / FOR_TCP,
    ],
    ids=["port", "protocol", "VIP"],
)
def test_a_line_is_not_taken_for_that_of_another_key(node: Node, datapath: Datapath, packet: Packet) -> None:
    """Somebody says that it is. Nobody serves these; the VIP next door is one because of another port."""
    done(program(datapath, frontend(LOCAL, vip=VIP + 1, port=443)))
    before = ends(node, datapath, packet)
    assert before is PacketReason.NO_SERVICE
    places = datapath._loaded.maps.places.bytes.cast("H")
    places[:] = memoryview(array("H", [number_of(datapath)] * len(places)))
    assert ends(node, datapath) is PacketReason.REMOTE_TX
    assert ends(node, datapath, packet) is before


def test_lines_stand_close_together(node: Node, datapath: Datapath) -> None:
    """One that was given back is the next one's."""
    more = [frontend(REMOTE, port=port) for port in (81, 82, 83)]
    for each in more:
        done(program(datapath, each))
    filled(datapath)
    assert {number_of(datapath, encode.frontend_key(each.key)) for each in (TO_REMOTE, *more)} == {1, 2, 3, 4}
    gone, raw = number_of(datapath, encode.frontend_key(more[0].key)), encode.frontend_key(more[0].key)
    done(remove(datapath, more[0].key))
    filled(datapath)
    assert number_of(datapath, raw) == 0
    new = frontend(LOCAL, port=84)
    done(program(datapath, new))
    filled(datapath)
    assert number_of(datapath, encode.frontend_key(new.key)) == gone
    to_new = TO_VIP / TCP(sport=40000, dport=84, flags="S")
    assert ends(node, datapath, to_new) is PacketReason.LOCAL


def test_a_new_agent_believes_no_line(node: Node, datapath: Datapath) -> None:
    """Whoever served in between, an older version perhaps, may have changed the entry and known of no lines."""
    entry = datapath._tables.frontends[TO_REMOTE.key].entry
    foreign(datapath._loaded.maps.frontends).put(RAW, entry._replace(serving=0, members=0).pack())
    datapath.close()
    second = node.datapath()
    assert not line(second)
    assert ends(node, second) is PacketReason.NO_BACKEND
    filled(second)
    assert line(second) == Line(RAW, second._loaded.maps.frontends.dump()[RAW], 0, 0)
    assert ends(node, second) is PacketReason.NO_BACKEND


def test_an_entry_that_somebody_changes_is_what_counts_from_the_next_look_on(node: Node, datapath: Datapath) -> None:
    entry = datapath._tables.frontends[TO_REMOTE.key].entry
    foreign(datapath._loaded.maps.frontends).put(RAW, entry._replace(serving=0, members=0).pack())
    observe(datapath)
    assert ends(node, datapath) is PacketReason.NO_BACKEND


def test_no_program_is_put_in_place_while_lines_are_from_before(
    node: Node, datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, memory, where = [], datapath._loaded.maps.shortcuts, at(datapath)
    real = settle.settle

    def watched(*args: Any) -> settle.Program:
        seen.append(memory.words[where // 4])
        return real(*args)

    monkeypatch.setattr(loader, "settle", watched)
    assert line(datapath)
    loader.load(datapath._folder, SMALL, datapath._tc).close()
    assert seen == [0, 0]


ALIKE = {
    "other addresses": [FrontendKey(VIP + number * number, Protocol.TCP, 80) for number in range(5000)],
    "other ports": [FrontendKey(VIP, Protocol.TCP, port) for port in range(1, 1 << 16)],
}


@pytest.mark.parametrize("keys", ALIKE.values(), ids=ALIKE.keys())
def test_frontends_of_the_same_place_are_not_mistaken_for_each_other(node: Node, keys: list[FrontendKey]) -> None:
    to_remote, to_local = _of_one_place(keys)
    datapath = node.attached()
    done(program(datapath, frontend(REMOTE, vip=to_remote.vip, port=to_remote.port)))
    done(program(datapath, frontend(LOCAL, vip=to_local.vip, port=to_local.port)))
    proven(datapath, frontend(REMOTE, vip=to_remote.vip, port=to_remote.port))
    filled(datapath)
    for key, reason in ((to_remote, PacketReason.REMOTE_TX), (to_local, PacketReason.LOCAL)):
        packet = IP(src=str(CLIENT), dst=str(key.vip)) / TCP(sport=40000, dport=key.port, flags="S")
        assert ends(node, datapath, packet) is reason
    raw = encode.frontend_key(to_local)
    found = line(datapath, raw)
    assert found is not None
    assert found.key == raw


def _of_one_place(keys: list[FrontendKey]) -> tuple[FrontendKey, FrontendKey]:
    seen: dict[int, FrontendKey] = {}
    for key in keys:
        place = place_of(encode.frontend_key(key))
        if place in seen:
            return seen[place], key
        seen[place] = key
    raise AssertionError("no two")


def memory(size: int) -> MappedArray:
    """In the place of a map."""
    return cast("MappedArray", type("Array", (), {"bytes": memoryview(bytearray(size))})())


def test_a_line_rests_before_it_is_filled() -> None:
    lines = Shortcuts(memory(abi.SHORTCUT_BYTES << abi.SHORTCUT_BITS), memory(abi.PLACES_BYTES), memory(0), rest=1.0)
    asked: list[bytes] = []

    def entry(key: bytes) -> bytes:
        asked.append(key)
        return bytes(abi.FRONTEND.size)

    lines.forget_all([RAW])
    lines.tend(10.0, entry)
    lines.tend(10.9, entry)
    lines.forget(RAW)
    lines.tend(11.0, entry)
    lines.tend(11.9, entry)
    assert not asked
    lines.tend(12.0, entry)
    lines.tend(13.0, entry)
    assert asked == [RAW]
    lines.close()


def test_places_differ_by_all_of_the_key() -> None:
    keys = [FrontendKey(vip, kind, port) for vip in (VIP, VIP + 1, VIP6) for kind in Protocol for port in (80, 81)]
    assert len({place_of(encode.frontend_key(key)) for key in keys}) == len(keys)
