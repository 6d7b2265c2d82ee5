"""A short row and the preferences that stand for it: the same backends, in Python and in the program."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.lb import Backend
from datapath import abi, blocks, flow, maglev, packet, probe, rendezvous
from datapath.hand import Datapath
from tests.datapath.node import CLIENT, REMOTE, SMALL, VIP, Node, done, frontend, observe, program, proven

#: Their order by name is not that by number: 10.244.2.9 comes before 10.244.2.10, and its name after.
POOL = [Backend(REMOTE.address + i, 8080) for i in range(-6, 24)]


@given(st.lists(st.sampled_from(POOL), min_size=2, max_size=abi.RENDEZVOUS_MEMBERS, unique=True))
def test_preferences_make_the_row(backends: list[Backend]) -> None:
    assert rendezvous.row(tuple(maglev.preferences(backends))) == maglev.owners(backends)


def test_where_two_like_a_slot_as_much_the_first_by_name_has_it() -> None:
    """Else the test above could be right by luck: such slots there are."""
    backends = [Backend(IPv4Address("10.0.0.0") + i, 80) for i in range(16)]
    words = list(maglev.preferences(backends))
    last_turn = 15 << 28
    assert rendezvous.row(tuple(word ^ last_turn for word in words)) != maglev.owners(backends)


def chosen(node: Node, datapath: Datapath, ports: range) -> list[int]:
    """The ids of the backends that the program takes."""
    link, prog = node.link(), datapath._prog
    flows = (packet.Flow(CLIENT, port, VIP, 80, frontend().key.protocol) for port in ports)
    return [probe.run(prog, link.ifindex, packet.build(each, link.address)).backend for each in flows]


PORTS = range(1024, 2048)


@pytest.mark.root
@pytest.mark.parametrize("count", [2, 3, 15, 16])
def test_the_program_works_out_what_the_row_says(node: Node, count: int) -> None:
    datapath = node.attached()
    wanted = frontend(*POOL[:count])
    done(program(datapath, wanted))
    held = datapath._tables.frontends[wanted.key]
    assert held.entry.prefers
    row = maglev.owners(wanted.backends)
    numbers = [number for _, number in held.ids]
    values = (flow.flow_hash(CLIENT, port, VIP, 80, 6) for port in PORTS)
    expected = [numbers[row[flow.slot(value, abi.RENDEZVOUS_BITS)]] for value in values]
    assert chosen(node, datapath, PORTS) == expected
    assert set(expected) == set(numbers)


@pytest.mark.root
def test_a_block_of_preferences_lies_in_one_page(node: Node) -> None:
    datapath = node.attached(msgspec.structs.replace(SMALL, frontends=64))
    for port in range(1, 60):
        done(program(datapath, frontend(*POOL[:11], port=port)))
    entries = [held.entry for held in datapath._tables.frontends.values()]
    assert all(entry.block % abi.PAGE_WORDS + entry.length <= abi.PAGE_WORDS for entry in entries)
    assert len({entry.block // abi.PAGE_WORDS for entry in entries}) == 2
    assert observe(datapath).damaged == {}


@pytest.mark.root
def test_a_row_that_an_earlier_version_wrote_serves_on(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same flows go to the same backends, and when the backends change it becomes preferences."""
    wanted, less = frontend(*POOL[:10]), frontend(*POOL[1:10])
    real: Callable[..., blocks.Entry] = blocks.entry_of
    without = ~abi.FrontendFlag.RENDEZVOUS

    def earlier(*given: object) -> blocks.Entry:
        entry = real(*given)
        return entry._replace(flags=entry.flags & without)

    datapath = node.attached()
    with monkeypatch.context() as patched:
        patched.setattr(blocks, "entry_of", earlier)
        done(program(datapath, wanted))
    assert not datapath._tables.frontends[wanted.key].entry.prefers
    proven(datapath, wanted)
    assert observe(datapath).damaged == {}
    before = chosen(node, datapath, PORTS)
    datapath.close()
    datapath = node.datapath()
    assert chosen(node, datapath, PORTS) == before
    done(program(datapath, less))
    assert datapath._tables.frontends[wanted.key].entry.prefers


class _Rows(NamedTuple):
    """As much of the maps as it takes to say whether a block fits."""

    rows: SimpleNamespace = SimpleNamespace(words=bytes(4 * abi.PAGE_WORDS))


@pytest.mark.parametrize(
    ("change", "sound"),
    [
        ({}, True),
        ({"block": abi.PAGE_WORDS - 20}, True),
        ({"block": abi.PAGE_WORDS - 19}, False),
        ({"members": 0}, False),
        ({"members": 17, "serving": 17}, False),
        ({"previous_bits": 12}, False),
    ],
)
def test_a_damaged_entry_is_not_followed(change: dict[str, int], sound: bool) -> None:
    entry = blocks.Entry(0, 10, 10, abi.RENDEZVOUS_BITS, flags=abi.FrontendFlag.RENDEZVOUS)
    assert blocks.fits(_Rows(), entry._replace(**change)) is sound  # type: ignore[arg-type]
