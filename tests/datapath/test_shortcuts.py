"""Frontends are found by their shortcuts, and never by one that says something else than ``lb_frontends``."""

from __future__ import annotations

from array import array
from ipaddress import IPv4Address
from typing import Any, cast

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import IPAddress, Protocol
from datapath import abi, blocks, encode, loader, native, probe, settle
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


def line(datapath: Datapath, key: bytes = RAW) -> bytes:
    """Key and entry, nothing if the line says nothing."""
    at = place_of(key) * abi.SHORTCUT_BYTES
    found = datapath._loaded.maps.shortcuts.bytes[at : at + abi.SHORTCUT_BYTES].tobytes()
    return found[4:44] if any(found[:4]) else b""


def spoil(datapath: Datapath, at: int) -> None:
    """Another number of members, or whatever else stands there."""
    datapath._loaded.maps.shortcuts.bytes[place_of(RAW) * abi.SHORTCUT_BYTES + at] ^= 1


def ends(node: Node, datapath: Datapath, vip: IPAddress = VIP, port: int = 80) -> PacketReason:
    link = node.link()
    head = Ether(src=SENDER, dst=link.address.hex(":"))
    network = IP(src=str(CLIENT), dst=str(vip)) if vip.version == 4 else IPv6(src=str(CLIENT6), dst=str(vip))
    sent = head / network / TCP(sport=40000, dport=port, flags="S")
    return probe.run(datapath._prog, link.ifindex, bytes(sent)).reason


@pytest.mark.parametrize("wanted", [TO_REMOTE, frontend(REMOTE6, vip=VIP6)], ids=["IPv4", "IPv6"])
def test_a_packet_finds_the_shortcut(node: Node, wanted: Frontend) -> None:
    """The entry itself is taken away, so nothing else is there to be found; and without the line nobody serves."""
    datapath = node.attached()
    done(program(datapath, wanted))
    proven(datapath, wanted)
    filled(datapath)
    raw = encode.frontend_key(wanted.key)
    foreign(datapath._loaded.maps.frontends).remove(raw)
    assert ends(node, datapath, wanted.key.vip) is PacketReason.REMOTE_TX
    datapath._loaded.maps.shortcuts.words[place_of(raw) * abi.SHORTCUT_BYTES // 4] = 0
    assert ends(node, datapath, wanted.key.vip) is PacketReason.NO_SERVICE


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
    assert line(datapath) == RAW + datapath._tables.frontends[TO_BOTH.key].entry.pack()
    held = datapath._tables.frontends[TO_BOTH.key]
    datapath._tables.replace_row(TO_BOTH.key, blocks.read_row(datapath._loaded.maps, held.entry), 0.0)
    filled(datapath)
    assert line(datapath) == RAW + datapath._tables.frontends[TO_BOTH.key].entry.pack()
    done(remove(datapath, TO_BOTH.key))
    assert seen == [b""] * 3


def many(count: int) -> Frontend:
    return frontend(*(Backend(IPv4Address("10.244.2.10") + number, 8080) for number in range(count)))


def chosen(datapath: Datapath, node: Node) -> list[int]:
    """The backend ids of flows from a hundred ports."""
    link = node.link()
    head = Ether(src=SENDER, dst=link.address.hex(":")) / IP(src=str(CLIENT), dst=str(VIP))
    ports = range(40000, 40100)
    return [probe.run(datapath._prog, link.ifindex, bytes(head / TCP(sport=port, dport=80))).backend for port in ports]


@pytest.mark.parametrize("count", [2, abi.SHORTCUT_MEMBERS, abi.SHORTCUT_MEMBERS + 1])
def test_the_block_of_few_backends_is_in_the_line(node: Node, count: int) -> None:
    """All flows go where they went before there was a line; nothing else is asked, as far as there is room."""
    datapath, wanted = node.attached(), many(count)
    done(program(datapath, wanted))
    proven(datapath, wanted)
    by_block = chosen(datapath, node)
    assert len(set(by_block)) == count
    filled(datapath)
    assert chosen(datapath, node) == by_block
    entry = datapath._tables.frontends[wanted.key].entry
    rows = datapath._loaded.maps.rows.words
    rows[entry.block : entry.block + entry.length] = memoryview(array("I", [0] * entry.length))
    assert chosen(datapath, node) == (by_block if count <= abi.SHORTCUT_MEMBERS else [0] * len(by_block))


@pytest.mark.parametrize("at", [44, 48, 51, 52, 59])
def test_members_in_a_line_that_somebody_changes_are_found_out(node: Node, at: int) -> None:
    datapath, wanted = node.attached(), many(2)
    done(program(datapath, wanted))
    filled(datapath)
    flows = chosen(datapath, node)
    spoil(datapath, at)
    observe(datapath)
    assert not line(datapath)
    assert chosen(datapath, node) == flows


def test_a_block_outside_of_the_rows_is_not_taken_into_a_line(node: Node) -> None:
    """An entry that somebody has damaged."""
    datapath, wanted = node.attached(), many(2)
    done(program(datapath, wanted))
    maps = datapath._loaded.maps
    lines = native.Lines(maps.shortcuts.bytes, maps.rows.bytes)
    entry = datapath._tables.frontends[wanted.key].entry
    for block, taken in ((entry.block, True), (len(maps.rows.words) - 3, False), (0xFFFFFFFF, False)):
        lines.put(0, RAW, entry._replace(block=block).pack())
        found = blocks.Entry.unpack(maps.shortcuts.bytes[24:44].tobytes())
        assert (found.block, int(found.flags) & abi.FrontendFlag.HERE > 0) == (block, taken)
    lines.close()


def test_what_is_removed_is_not_found(node: Node, datapath: Datapath) -> None:
    other = frontend(REMOTE, port=81)
    done(program(datapath, other))
    done(remove(datapath, TO_REMOTE.key))
    assert ends(node, datapath) is PacketReason.NO_SERVICE
    filled(datapath)
    assert ends(node, datapath) is PacketReason.NO_SERVICE


@pytest.mark.parametrize("at", [0, 4, 24, 28, 30, 43])
def test_a_line_that_somebody_changes_is_cleared_and_filled_again(node: Node, datapath: Datapath, at: int) -> None:
    right = line(datapath)
    spoil(datapath, at)
    observe(datapath)
    assert not line(datapath)
    assert ends(node, datapath) is PacketReason.REMOTE_TX
    filled(datapath)
    assert line(datapath) == right


def test_a_line_that_nobody_wrote_is_cleared(datapath: Datapath) -> None:
    lines = datapath._loaded.maps.shortcuts
    elsewhere = (place_of(RAW) ^ 1) * abi.SHORTCUT_BYTES // 4
    lines.words[elsewhere] = 4
    observe(datapath)
    assert lines.words[elsewhere] == 0


def test_a_new_agent_believes_no_line(node: Node, datapath: Datapath) -> None:
    """Whoever served in between, an older version perhaps, may have changed the entry and known of no lines."""
    entry = datapath._tables.frontends[TO_REMOTE.key].entry
    foreign(datapath._loaded.maps.frontends).put(RAW, entry._replace(serving=0, members=0).pack())
    datapath.close()
    second = node.datapath()
    assert not line(second)
    assert ends(node, second) is PacketReason.NO_BACKEND
    filled(second)
    assert line(second) == RAW + second._loaded.maps.frontends.dump()[RAW]
    assert ends(node, second) is PacketReason.NO_BACKEND


def test_an_entry_that_somebody_changes_is_what_counts_from_the_next_look_on(node: Node, datapath: Datapath) -> None:
    entry = datapath._tables.frontends[TO_REMOTE.key].entry
    foreign(datapath._loaded.maps.frontends).put(RAW, entry._replace(serving=0, members=0).pack())
    observe(datapath)
    assert ends(node, datapath) is PacketReason.NO_BACKEND


def test_no_program_is_put_in_place_while_lines_are_from_before(
    node: Node, datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, memory = [], datapath._loaded.maps.shortcuts
    real = settle.settle

    def watched(*args: Any) -> settle.Program:
        seen.append(memory.words[place_of(RAW) * abi.SHORTCUT_BYTES // 4])
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
    assert ends(node, datapath, to_remote.vip, to_remote.port) is PacketReason.REMOTE_TX
    assert ends(node, datapath, to_local.vip, to_local.port) is PacketReason.LOCAL
    raw = encode.frontend_key(to_local)
    assert line(datapath, raw)[: len(raw)] == raw


def _of_one_place(keys: list[FrontendKey]) -> tuple[FrontendKey, FrontendKey]:
    seen: dict[int, FrontendKey] = {}
    for key in keys:
        place = place_of(encode.frontend_key(key))
        if place in seen:
            return seen[place], key
        seen[place] = key
    raise AssertionError("no two")


def test_a_line_rests_before_it_is_filled() -> None:
    memory = memoryview(bytearray(abi.SHORTCUT_BYTES << abi.SHORTCUT_BITS))
    mapped = cast("MappedArray", type("Array", (), {"bytes": memory})())
    lines = Shortcuts(mapped, mapped, rest=1.0)
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
