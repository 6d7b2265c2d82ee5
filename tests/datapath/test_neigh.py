"""Neighbours of next hops: several of them, kernels that cannot manage, and entries that others left or need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest

from announcer.model.lb import Backend
from announcer.model.observed import OutcomeState
from datapath.neigh import NUDGE_SECONDS, Nexthops
from datapath.notices import Notices
from datapath.rtnl import Rtnl
from tests.datapath.netns import ip, run
from tests.datapath.node import (
    LOCAL,
    REMOTE,
    ROUTER,
    Node,
    done,
    eventually,
    frontend,
    observe,
    program,
    proven,
    verify,
)

pytestmark = pytest.mark.root

SECOND = IPv4Address("192.168.1.12")
HOP_MAC = "02:00:00:00:00:07"


def entries(node: Node, address: object = ROUTER) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.run("ip", "-d", "-json", "neigh", "show", str(address)) or "[]")
    return found


def flags(node: Node, address: object = ROUTER) -> str:
    return node.run("ip", "-d", "neigh", "show", str(address))


@pytest.fixture(autouse=True)
def unknown(node: Node) -> None:
    """How the router is reached is what these tests are about."""
    node.forget_router()


@contextmanager
def nexthops(*, managed: bool = True, clock: list[float] | None = None) -> Iterator[Nexthops]:
    rtnl, notices = Rtnl(), Notices()
    now = clock if clock is not None else [0.0]
    try:
        yield Nexthops(rtnl, notices, lambda: now[0], managed=managed)
    finally:
        rtnl.close()
        notices.close()


def use(hops: Nexthops, *backends: Backend) -> None:
    hops.use(hops.routes(backends))


def test_every_next_hop_of_a_route_is_managed(node: Node) -> None:
    ip(node.router, [f"addr add {SECOND}/24 dev e0"])
    node.ip(f"route add 10.244.2.0/24 nexthop via {ROUTER} nexthop via {SECOND}")
    datapath = node.attached()
    done(program(datapath, frontend(REMOTE)))
    for address in (ROUTER, SECOND):
        assert "managed extern_learn" in flags(node, address)
    node.run("ip", "neigh", "del", str(SECOND), "dev", "eth0")
    assert str(SECOND) in observe(datapath).damaged[frontend(REMOTE).key]
    done(program(datapath, frontend(REMOTE)))
    assert "managed" in flags(node, SECOND)
    node.ip("route replace 10.244.2.0/24 via 192.168.1.12")
    done(program(datapath, frontend(REMOTE)))
    assert "managed" in flags(node, SECOND)
    assert "managed" not in flags(node, ROUTER)
    done(program(datapath, frontend(LOCAL)))
    assert not any("managed" in flags(node, address) for address in (ROUTER, SECOND))


def test_a_next_hop_that_fails_is_left_out(node: Node) -> None:
    """Two next hops, one of which answers nobody: every packet takes the other, and the VIP stays proven."""
    assert node.run("cat", "/proc/sys/net/ipv4/fib_multipath_use_neigh").strip() == "0"
    node.ip(f"route add 10.244.2.0/24 nexthop via {ROUTER} nexthop via {SECOND}")
    datapath = node.attached()
    assert node.run("cat", "/proc/sys/net/ipv4/fib_multipath_use_neigh").strip() == "1"
    many = frontend(*(Backend(IPv4Address(f"10.244.2.{number}"), 8080) for number in range(10, 30)))
    done(program(datapath, many))
    eventually(lambda: entries(node, SECOND) and "FAILED" in entries(node, SECOND)[0]["state"], "the second has failed")
    proven(datapath, many)
    node.run("sysctl", "-qw", "net.ipv4.fib_multipath_use_neigh=0")
    outcome = verify(datapath, many)
    assert outcome.state is OutcomeState.FAILED, "control: without it, packets for some backends go nowhere"
    assert "next hop" in outcome.problem


def test_a_kernel_that_cannot_manage_is_nudged(node: Node) -> None:
    clock = [0.0]
    with nexthops(managed=False, clock=clock) as hops:
        use(hops, REMOTE)
        assert "managed" not in flags(node)
        assert "proto 76" in flags(node)
        eventually(lambda: entries(node)[0].get("lladdr"), "it is resolved without a packet")
        assert hops.unmanaged(hops.routes([REMOTE])) is None
        node.run("ip", "neigh", "flush", "dev", "eth0")
        run("ip", "-n", node.router, "link", "set", "e0", "address", HOP_MAC)
        hops.refresh()
        clock[0] += NUDGE_SECONDS
        use(hops, REMOTE)
        hops.refresh()
        eventually(lambda: entries(node) and entries(node)[0].get("lladdr") == HOP_MAC, "the new address was asked for")
        hops.release([REMOTE])
        assert "proto 76" not in flags(node)


def test_a_kernel_that_forgets_the_wish_is_found_out(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one from before 5.16 does: it takes NDA_FLAGS_EXT for an attribute of the future."""
    monkeypatch.setattr("datapath.rtnl._NTF_EXT_MANAGED", 0)
    with nexthops() as hops:
        use(hops, REMOTE)
        assert hops.unmanaged(hops.routes([REMOTE])) is None
        eventually(lambda: entries(node)[0].get("lladdr"), "it is resolved all the same")
        assert "managed" not in flags(node)


@pytest.mark.parametrize(
    "old", ["nud permanent proto 76", "nud reachable extern_learn proto 76", "nud stale extern_learn"]
)
def test_entries_of_an_earlier_installation_become_managed(node: Node, old: str) -> None:
    """In place, so that no packet is without an address on the way."""
    node.ip(f"neigh replace {ROUTER} lladdr 02:00:00:00:00:09 dev eth0 {old}")
    with nexthops() as hops:
        assert hops.routes([REMOTE])
        assert hops.unmanaged(hops.routes([REMOTE])) == (REMOTE, ROUTER)
        use(hops, REMOTE)
        assert hops.unmanaged(hops.routes([REMOTE])) is None
        assert "managed extern_learn" in flags(node)
        assert "PERMANENT" not in flags(node)


@pytest.mark.parametrize("foreign", ["nud permanent", "nud noarp extern_learn proto zebra"])
def test_entries_of_others_are_used_and_left_alone(node: Node, foreign: str) -> None:
    node.ip(f"neigh replace {ROUTER} lladdr {HOP_MAC} dev eth0 {foreign}")
    before = flags(node)
    with nexthops() as hops:
        use(hops, REMOTE)
        assert hops.unmanaged(hops.routes([REMOTE])) is None
        hops.nudge(REMOTE)
        hops.release([REMOTE])
        hops.keep_only([])
    assert flags(node) == before


def test_entries_of_another_version_that_nothing_needs_are_removed(node: Node) -> None:
    node.ip(f"neigh replace {SECOND} lladdr {HOP_MAC} dev eth0 nud permanent proto 76")
    with nexthops() as hops:
        hops.keep_only([])
    assert not entries(node, SECOND)
