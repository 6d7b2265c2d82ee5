"""The agent ends, in order or not, and a new one finds everything; nothing on the devices changes meanwhile."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from announcer.model.steps import AttachDevices
from datapath import encode, shim
from tests.datapath.child import STATES
from tests.datapath.conftest import ROOT
from tests.datapath.netns import variant
from tests.datapath.node import LOCAL, REMOTE, SMALL, Node, done, frontend, observe, program, proven, remove

pytestmark = pytest.mark.root

BOTH = frontend(LOCAL, REMOTE)
OTHER_TTL = ("lb_encap.h", "#define OUTER_TTL 64", "#define OUTER_TTL 63")


def test_a_new_agent_finds_everything_and_moves_nothing(node: Node) -> None:
    first = node.attached()
    done(program(first, BOTH))
    proven(first, BOTH)
    before = observe(first)
    entries, row = first._loaded.maps.frontends.dump(), first._loaded.maps.rows.bytes.tobytes()
    neighbours = node.run("ip", "-d", "neigh", "show", "192.168.1.11")
    links = link_ids(node)
    first.close()
    second = node.datapath()
    assert not before.adopted
    assert observe(second) == msgspec.structs.replace(before, adopted=True)
    assert second._loaded.maps.frontends.dump() == entries
    assert second._loaded.maps.rows.bytes.tobytes() == row
    proven(second, BOTH)
    done(program(second, BOTH))
    done(second.apply(AttachDevices(lane="devices")))
    assert second._loaded.maps.frontends.dump() == entries
    assert link_ids(node) == links
    assert ("lladdr" in neighbours) == ("lladdr" in node.run("ip", "-d", "neigh", "show", "192.168.1.11"))


def link_ids(node: Node) -> dict[str, tuple[int, int]]:
    found = {}
    for path in (node.bpffs / "links").iterdir():
        fd = shim.get(path)
        assert fd is not None
        info = shim.link_info(fd)
        found[path.name] = (info.id, info.prog_id)
        os.close(fd)
    return found


def test_another_program_replaces_the_old_on_the_same_links(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version: other instructions, the same maps."""
    first = node.attached()
    done(program(first, BOTH))
    links, old = link_ids(node), node.link().xdp_prog
    first.close()
    monkeypatch.setattr("datapath.loader.load.__defaults__", (variant(node.bpffs.parent, *OTHER_TTL),))
    second = node.datapath()
    now = link_ids(node)
    assert {name: number for name, (number, _) in now.items()} == {name: number for name, (number, _) in links.items()}
    assert node.link().xdp_prog not in (0, old)
    assert observe(second).attached
    assert observe(second).frontends == {BOTH.key: BOTH}
    proven(second, BOTH)


def test_forwarding_goes_on_while_nobody_is_there(node: Node) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.datapath.child", node.bpffs], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"attached\n"
    attached = node.link().xdp_prog
    child.kill()
    child.wait()
    child.stdout.close()
    assert attached
    assert node.link().xdp_prog == attached


@pytest.mark.parametrize("seed", range(12))
def test_killed_at_any_moment_it_leaves_old_or_new(node: Node, seed: int) -> None:
    chance = random.Random(seed)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.datapath.child", node.bpffs], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(chance.uniform(0.0, 0.05))  # not to synchronise: the moment is what is tried out
    child.kill()
    child.wait()
    child.stdout.close()
    datapath = node.datapath()
    seen = observe(datapath)
    assert seen.attached
    assert not seen.damaged
    for key, found in seen.frontends.items():
        # What it takes from other nodes may be that of both: that comes first and goes last.
        assert msgspec.structs.replace(found, for_others=()) in STATES[key]
    for key, states in STATES.items():
        for state in states:
            if state is not None:
                done(program(datapath, state))
                proven(datapath, state)
        done(remove(datapath, key))
    assert {usage.used for usage in observe(datapath).maps.values()} == {0}
    assert not datapath._loaded.maps.vips.dump()


#: Writes into hash maps by the steps below.
WRITES = 12
R = TypeVar("R")


class DiedError(Exception):
    """Nothing happens after this."""


def dying(real: Callable[..., R], writes: list[int], last: int) -> Callable[..., R]:
    def call(*arguments: object) -> R:
        if len(writes) == last:
            raise DiedError
        writes.append(1)
        return real(*arguments)

    return call


@pytest.mark.parametrize("last", range(WRITES + 1))
def test_dead_after_any_write_it_heals(node: Node, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write into a hash map is a place to die; those that would follow do not happen."""
    datapath = node.attached()
    first, second, empty = frontend(LOCAL), frontend(REMOTE, vip=LOCAL.address), frontend()
    done(program(datapath, first))
    died, writes = False, list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(shim, "update", dying(shim.update, writes, last))
        patch.setattr(shim, "delete", dying(shim.delete, writes, last))
        try:
            done(program(datapath, BOTH))
            done(program(datapath, empty))
            done(program(datapath, first))
            done(program(datapath, second))
            done(remove(datapath, first.key))
        except DiedError:
            died = True
    assert died == (last < WRITES)
    datapath.close()
    again = node.datapath(SMALL)
    seen = observe(again)
    assert not seen.damaged
    found = seen.frontends.get(first.key)
    # What it takes from other nodes may be that of both: that comes first and goes last.
    assert found is None or msgspec.structs.replace(found, for_others=()) in (first, BOTH, empty)
    assert seen.frontends.get(second.key) in (second, None)
    assert again._loaded.maps.vips.dump().keys() == {encode.address_bytes(key.vip) for key in seen.frontends}
    decaps = [encode.decap_entries(found).keys() for found in seen.frontends.values()]
    assert again._loaded.maps.decaps.dump().keys() == set().union(*decaps)
    for wanted in (BOTH, second):
        done(program(again, wanted))
        proven(again, wanted)
    assert not observe(again).damaged
    for wanted in (BOTH, second):
        done(remove(again, wanted.key))
    assert {usage.used for usage in observe(again).maps.values()} == {0}
