"""A frontend is looked into again when, and only when, something of it has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from announcer.model.lb import Backend, Frontend, Mode
from datapath import abi, maps, readback, rota
from datapath.hand import Datapath
from datapath.maps import Maps, SummedMap
from tests.datapath.node import (
    BEHIND,
    LOCAL,
    REMOTE,
    REMOTE_NODE,
    VIP,
    Node,
    done,
    failed,
    foreign,
    frontend,
    observe,
    program,
    proven,
    remove,
    verify,
)

pytestmark = pytest.mark.root

WANTED = frontend(LOCAL, REMOTE)
OTHER_VIP = VIP + 1


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

    def read(maps: Maps, entry: object, known: object) -> object:
        seen.append(entry)
        return real(maps, entry, known)  # type: ignore[arg-type]

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
    "the entry": lambda d, block, _: foreign(d._loaded.maps.frontends).put(*_without_transition(d, block)),
    "the VIP": lambda d, *_: foreign(d._loaded.maps.vips).remove(next(iter(d._loaded.maps.vips.dump()))),
    "a VIP's flags": lambda d, *_: foreign(d._loaded.maps.vips).put(next(iter(d._loaded.maps.vips.dump())), bytes(4)),
    "a decapsulation entry": lambda d, *_: foreign(d._loaded.maps.decaps).remove(
        next(iter(d._loaded.maps.decaps.dump()))
    ),
}


def _without_transition(datapath: Datapath, block: int) -> tuple[bytes, bytes]:
    entries = datapath._loaded.maps.frontends.dump().items()
    ((key, value),) = [entry for entry in entries if abi.FRONTEND.unpack(entry[1])[0] == block]
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


@pytest.mark.parametrize("what", DAMAGE)
def test_what_a_proof_has_come_across_first_is_seen_by_the_next_look_too(datapath: Datapath, what: str) -> None:
    held = datapath._tables.frontends[WANTED.key]
    DAMAGE[what](datapath, held.entry.block, dict(held.ids)[REMOTE])
    if what != "a backend's source":  # to which nothing comes back
        assert failed(verify(datapath, WANTED))
    seen = observe(datapath)
    assert seen.damaged or seen.frontends != {WANTED.key: WANTED}


@pytest.fixture
def several(datapath: Datapath, monkeypatch: pytest.MonkeyPatch) -> tuple[Datapath, list[Frontend]]:
    """A datapath that has more frontends than it looks at at a time."""
    monkeypatch.setattr(maps, "_WORTH_ADDING", 0)
    monkeypatch.setattr(rota, "LOOK_ENTRIES", 2)
    monkeypatch.setattr(rota, "LOOK_BYTES", 200)
    frontends = [frontend(LOCAL, Backend(REMOTE.address + i, 8080), port=8000 + i) for i in range(8)]
    for each in frontends:
        done(program(datapath, each))
    for _ in range(20):
        assert observe(datapath).damaged == {}
    return datapath, [WANTED, *frontends]


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("at", [0, 4, 8])
def test_of_many_each_has_its_turn(several: tuple[Datapath, list[Frontend]], what: str, at: int) -> None:
    datapath, frontends = several
    wanted = {each.key: each for each in frontends}
    chosen = frontends[at]
    held = datapath._tables.frontends[chosen.key]
    DAMAGE[what](datapath, held.entry.block, held.numbers[1])
    looks = 1
    while not (seen := observe(datapath)).damaged and seen.frontends == wanted:
        looks += 1
        assert looks <= 20
    for each in frontends:
        done(program(datapath, each))
    for _ in range(20):
        seen = observe(datapath)
        assert (seen.damaged, seen.frontends) == ({}, wanted)


def test_what_has_not_changed_is_the_same_object(datapath: Datapath) -> None:
    other = frontend(REMOTE, vip=OTHER_VIP)
    done(program(datapath, other))
    before = observe(datapath)
    again = observe(datapath)
    assert again.frontends is before.frontends
    assert again.damaged is before.damaged
    assert again.maps is before.maps
    changed = frontend(LOCAL)
    done(program(datapath, changed))
    after = observe(datapath)
    assert before.frontends == {WANTED.key: WANTED, other.key: other}
    assert after.frontends == {WANTED.key: changed, other.key: other}
    assert after.frontends[other.key] is other
    assert after.frontends[WANTED.key] is changed
    assert observe(datapath).frontends is after.frontends


def test_nothing_is_handed_over_by_maps_that_are_as_they_were(
    datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumped: list[str] = []
    real = SummedMap.take_stock

    def take_stock(table: SummedMap) -> dict[bytes, bytes]:
        dumped.append(table.name)
        return real(table)

    monkeypatch.setattr(SummedMap, "take_stock", take_stock)
    for wanted in (WANTED, frontend(REMOTE), WANTED, frontend(LOCAL, vip=OTHER_VIP)):
        done(program(datapath, wanted))
        observe(datapath)
        done(remove(datapath, wanted.key))
        observe(datapath)
    assert dumped == []
    foreign(datapath._loaded.maps.vips).put(bytes(16), bytes(4))
    observe(datapath)
    assert sorted(dumped) == ["lb_decaps", "lb_frontends", "lb_vips"]


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
    found, number = datapath._loaded.maps, dict(datapath._tables.frontends[wanted.key].ids)[BEHIND]
    if what == "the node's address":
        flip(found.nodes.bytes, number * abi.ADDRESS_BYTES + 15)
    else:
        found.backends.bytes[number * abi.BACKEND_BYTES + abi.BACKEND_FLAGS_AT] = int(abi.BackendFlag.USED)
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
