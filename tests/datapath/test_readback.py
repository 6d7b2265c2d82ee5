"""A frontend is looked into again when, and only when, something of it has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from announcer.model.lb import Backend, Mode
from datapath import abi, readback
from datapath.hand import Datapath
from datapath.maps import Maps
from tests.datapath.node import BEHIND, LOCAL, REMOTE, REMOTE_NODE, Node, done, frontend, observe, program, proven

pytestmark = pytest.mark.root

WANTED = frontend(LOCAL, REMOTE)


@pytest.fixture
def datapath(node: Node) -> Datapath:
    """It serves, and all of it was read twice."""
    made = node.attached()
    done(program(made, WANTED))
    proven(made, WANTED)
    for _ in range(2):
        assert observe(made).damaged == {}
    return made


def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Filled with every block that is looked into."""
    seen: list[object] = []
    real = readback._read_block

    def read(maps: Maps, entry: object) -> object:
        seen.append(entry)
        return real(maps, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(readback, "_read_block", read)
    return seen


def flip(view: memoryview, at: int) -> None:
    view[at] ^= 1


DAMAGE: dict[str, Callable[[Datapath, int, int], None]] = {
    "a preference": lambda d, block, _: flip(d._loaded.maps.rows.bytes, 4 * (block + 2) + 1),
    "the last preference": lambda d, block, _: flip(d._loaded.maps.rows.bytes, 4 * (block + 3) + 3),
    "a member": lambda d, block, _: flip(d._loaded.maps.rows.bytes, 4 * block),
    "a backend's address": lambda d, _, number: flip(d._loaded.maps.backends.bytes, number * abi.BACKEND_BYTES + 15),
    "a backend's port": lambda d, _, number: flip(d._loaded.maps.backends.bytes, number * abi.BACKEND_BYTES + 36),
    "a backend's source": lambda d, _, number: flip(d._loaded.maps.backends.bytes, number * abi.BACKEND_BYTES + 31),
    "the entry": lambda d, block, _: d._loaded.maps.frontends.put(*_without_transition(d, block)),
    "the VIP": lambda d, *_: d._loaded.maps.vips.remove(next(iter(d._loaded.maps.vips.dump()))),
    "a decapsulation entry": lambda d, *_: d._loaded.maps.decaps.remove(next(iter(d._loaded.maps.decaps.dump()))),
}


def _without_transition(datapath: Datapath, block: int) -> tuple[bytes, bytes]:
    ((key, value),) = datapath._loaded.maps.frontends.dump().items()
    return key, abi.FRONTEND.pack(block, 1, *abi.FRONTEND.unpack(value)[2:])


@pytest.mark.parametrize("what", DAMAGE)
def test_what_somebody_changes_is_seen_though_all_was_well_before(datapath: Datapath, what: str) -> None:
    held = datapath._tables.frontends[WANTED.key]
    remote = dict(held.ids)[REMOTE]
    DAMAGE[what](datapath, held.entry.block, remote)
    seen = observe(datapath)
    assert seen.damaged or seen.frontends != {WANTED.key: WANTED}
    done(program(datapath, WANTED))
    proven(datapath, WANTED)
    seen = observe(datapath)
    assert (seen.damaged, seen.frontends) == ({}, {WANTED.key: WANTED})


@pytest.mark.parametrize("at", [0, 1234, (1 << 14) - 1])
def test_a_slot_that_somebody_changes_is_seen(datapath: Datapath, at: int) -> None:
    long = frontend(*(Backend(REMOTE.address + i, 8080) for i in range(17)))
    done(program(datapath, long))
    proven(datapath, long)
    assert observe(datapath).damaged == {}
    held = datapath._tables.frontends[long.key]
    flip(datapath._loaded.maps.rows.bytes, held.entry.row_at + at)
    assert long.key in observe(datapath).damaged


def test_nothing_is_looked_into_twice(datapath: Datapath, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = looks(monkeypatch)
    before = observe(datapath).frontends
    proven(datapath, WANTED)
    after = observe(datapath).frontends
    assert looked == []
    assert after[WANTED.key] is before[WANTED.key] is WANTED
    done(program(datapath, frontend(LOCAL)))
    assert observe(datapath).frontends == {WANTED.key: frontend(LOCAL)}
    assert len(looked) == 1


def test_the_next_hop_that_the_program_keeps_is_its_own_business(
    datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = looks(monkeypatch)
    number = dict(datapath._tables.frontends[WANTED.key].ids)[REMOTE]
    for at in range(abi.BACKEND.size, abi.BACKEND_BYTES):
        flip(datapath._loaded.maps.backends.bytes, number * abi.BACKEND_BYTES + at)
    assert observe(datapath).damaged == {}
    assert looked == []


def test_a_route_that_changes_is_seen_though_the_maps_are_as_they_were(node: Node, datapath: Datapath) -> None:
    assert observe(datapath).damaged == {}
    node.ip("route add 10.244.2.0/24 dev pod")
    assert WANTED.key in observe(datapath).damaged
    node.ip("route del 10.244.2.0/24 dev pod")
    assert observe(datapath).damaged == {}


@pytest.mark.parametrize("what", ["the node's address", "that it is sent there"])
def test_a_change_of_where_geneve_goes_is_seen(node: Node, what: str) -> None:
    datapath, wanted = node.attached(), frontend(LOCAL, BEHIND, mode=Mode.GENEVE)
    done(program(datapath, wanted))
    proven(datapath, wanted)
    assert observe(datapath).frontends == {wanted.key: wanted}
    maps, number = datapath._loaded.maps, dict(datapath._tables.frontends[wanted.key].ids)[BEHIND]
    if what == "the node's address":
        flip(maps.nodes.bytes, number * abi.ADDRESS_BYTES + 15)
    else:
        maps.backends.bytes[number * abi.BACKEND_BYTES + abi.BACKEND_FLAGS_AT] = int(abi.BackendFlag.USED)
    assert observe(datapath).frontends != {wanted.key: wanted}
    done(program(datapath, wanted))
    proven(datapath, wanted)
    assert observe(datapath).frontends == {wanted.key: wanted}


def test_an_id_that_was_a_backend_behind_its_node_may_be_another(node: Node) -> None:
    """What ``lb_nodes`` still says of the id means nothing then."""
    datapath = node.attached()
    for wanted in (frontend(BEHIND, mode=Mode.GENEVE), frontend(REMOTE), frontend(BEHIND, mode=Mode.GENEVE)):
        done(program(datapath, wanted))
        proven(datapath, wanted)
        seen = observe(datapath)
        assert (seen.damaged, seen.frontends) == ({}, {wanted.key: wanted})
        assert not node.run("ip", "neigh", "show", str(REMOTE_NODE)), "the router is the next hop"
