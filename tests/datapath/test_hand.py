"""The hand: what it programs it reads back, what fails leaves the old, what others do to us is seen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from announcer.model.errors import BugError, TargetError
from announcer.model.lb import Backend, Frontend, MapUsage
from announcer.model.net import Protocol
from announcer.model.observed import OutcomeState
from announcer.model.steps import AttachDevices, EndOfRib
from datapath import encode, flow, shim
from datapath.abi import PacketReason, Verdict
from datapath.hand import Datapath
from datapath.limits import Limits
from datapath.trace import TraceRequest
from datapath.uninstall import uninstall
from tests.datapath.node import (
    CLIENT,
    LOCAL,
    LOCAL6,
    REMOTE,
    ROUTER,
    SMALL,
    VIP,
    VIP6,
    Node,
    done,
    failed,
    frontend,
    observe,
    program,
    proven,
    remove,
    verify,
)

pytestmark = pytest.mark.root

ATTACH = AttachDevices(lane="devices")
BOTH = frontend(LOCAL, REMOTE)


def many(count: int, local: bool = False) -> list[Backend]:
    return [Backend(IPv4Address(0x0AF40300 + i), 8080, local) for i in range(count)]


@pytest.mark.parametrize(
    "wanted",
    [frontend(), frontend(LOCAL), frontend(REMOTE), BOTH, frontend(*many(41)), frontend(LOCAL, protocol=Protocol.UDP)],
    ids=["no backends", "local", "remote", "both", "41", "udp"],
)
def test_what_is_programmed_is_read_back_and_proven(node: Node, wanted: Frontend) -> None:
    datapath = node.attached()
    done(program(datapath, wanted))
    assert observe(datapath).frontends == {wanted.key: wanted}
    proven(datapath, wanted)
    outcome = verify(datapath, wanted)
    assert outcome.proof is not None
    assert outcome.proof.ok


def test_a_proof_needs_just_the_backends_that_are_decided(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, frontend(LOCAL)))
    assert "other backends" in failed(verify(datapath, BOTH))
    assert "no entry" in failed(verify(datapath, frontend(LOCAL, port=81)))


def test_a_proof_needs_an_attached_device(node: Node) -> None:
    datapath = node.datapath()
    done(program(datapath, frontend(LOCAL)))
    assert "not attached" in failed(verify(datapath, frontend(LOCAL)))


def test_changing_backends_moves_no_id_and_leaves_nothing_behind(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, BOTH))
    before = dict(datapath._tables.frontends[BOTH.key].ids)
    done(program(datapath, frontend(LOCAL, REMOTE, *many(3))))
    assert before.items() <= dict(datapath._tables.frontends[BOTH.key].ids).items()
    done(program(datapath, frontend(REMOTE)))
    usage = observe(datapath).maps
    assert usage["lb_backends"].used == 1
    assert usage["lb_rows"].used == datapath._tables.frontends[BOTH.key].entry.length
    assert usage["lb_decaps"].used == 0
    done(remove(datapath, BOTH.key))
    assert {used.used for used in observe(datapath).maps.values()} == {0}
    assert not datapath._loaded.maps.vips.dump()


def test_the_same_step_twice_writes_nothing(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, BOTH))
    before = datapath._loaded.maps.frontends.dump()
    done(program(datapath, BOTH))
    assert datapath._loaded.maps.frontends.dump() == before
    done(remove(datapath, BOTH.key))
    done(remove(datapath, BOTH.key))


def test_backends_are_shared_between_frontends(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, BOTH))
    done(program(datapath, frontend(LOCAL, REMOTE, port=81)))
    assert observe(datapath).maps["lb_backends"].used == 2
    done(remove(datapath, BOTH.key))
    assert observe(datapath).maps["lb_backends"].used == 2
    proven(datapath, frontend(LOCAL, REMOTE, port=81))


def test_the_address_stays_ours_until_its_last_frontend_goes(node: Node) -> None:
    datapath = node.attached()
    request = TraceRequest(source=CLIENT, source_port=40000, dest=VIP, dest_port=80)
    done(program(datapath, frontend(LOCAL)))
    done(program(datapath, frontend(port=81)))
    done(remove(datapath, frontend().key))
    assert datapath.trace(request).reason is PacketReason.NO_SERVICE
    done(remove(datapath, frontend(port=81).key))
    assert datapath.trace(request).reason is PacketReason.NOT_OURS


@pytest.mark.parametrize(
    ("limits", "map_name"),
    [
        (msgspec.structs.replace(SMALL, frontends=1), "lb_frontends"),
        (msgspec.structs.replace(SMALL, backends=3), "lb_backends"),
        (msgspec.structs.replace(SMALL, row_pages=1), "lb_rows"),
        (msgspec.structs.replace(SMALL, decaps=1), "lb_decaps"),
        (msgspec.structs.replace(SMALL, vips=1), "lb_vips"),
    ],
    ids=["frontends", "backends", "rows", "decaps", "vips"],
)
def test_a_full_map_leaves_the_old_state(node: Node, limits: Limits, map_name: str) -> None:
    datapath = node.attached(limits)
    first = frontend(LOCAL)
    done(program(datapath, first))
    before = observe(datapath)
    other = Backend(IPv4Address("10.244.1.11"), 8080, True)
    second = frontend(other, *many(17 if map_name == "lb_rows" else 2, True), vip=VIP + 1)
    outcome = program(datapath, second)
    assert map_name in failed(outcome)
    assert observe(datapath) == before
    assert datapath._loaded.maps.vips.dump().keys() == {encode.address_bytes(VIP)}
    proven(datapath, first)
    # And what was taken for it is free again.
    done(remove(datapath, first.key))
    done(program(datapath, frontend(other, vip=VIP + 1)))


def test_an_update_that_does_not_fit_leaves_the_old_backends(node: Node) -> None:
    datapath = node.attached(msgspec.structs.replace(SMALL, row_pages=1))
    done(program(datapath, frontend(LOCAL)))
    assert "lb_rows" in failed(program(datapath, frontend(*many(17))))
    assert observe(datapath).frontends[frontend().key] == frontend(LOCAL)
    proven(datapath, frontend(LOCAL))


def test_a_row_rests_before_it_is_used_again(node: Node) -> None:
    limits = msgspec.structs.replace(SMALL, row_pages=8, rest=5.0)
    long = frontend(*many(17))
    now = 100.0
    datapath = Datapath(bpffs=node.bpffs, limits=limits, clock=lambda: now)
    datapath.open()
    try:
        done(program(datapath, long))
        done(remove(datapath, long.key))
        now = 104.9
        assert "lb_rows" in failed(program(datapath, long))
        observe(datapath)
        now = 105.0
        done(program(datapath, long))
    finally:
        datapath.close()


def test_what_this_release_does_not_serve_is_refused_for_good(node: Node) -> None:
    outcome = program(node.attached(), frontend(LOCAL6))
    assert "the other family" in failed(outcome)
    assert not outcome.retry


def test_a_step_of_the_other_hand_is_a_bug(node: Node) -> None:
    with pytest.raises(BugError):
        node.datapath().apply(EndOfRib(lane="p", peer="p", session=1))


def test_a_packet_is_traced(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, BOTH))
    proven(datapath, BOTH)
    before = datapath.counters()
    results = [
        datapath.trace(TraceRequest(source=CLIENT, source_port=40000 + i, dest=VIP, dest_port=80)) for i in range(50)
    ]
    assert {result.backend for result in results} == {LOCAL, REMOTE}
    for result in results:
        assert (result.device, result.frontend, result.problem) == ("eth0", BOTH.key, "")
        assert result.packet is not None
        if result.backend == LOCAL:
            assert (result.verdict, result.reason, result.leaves_by) == (Verdict.PASS, PacketReason.LOCAL, "")
            assert (result.packet.dest, result.packet.dest_port) == (LOCAL.address, LOCAL.port)
        else:
            assert (result.verdict, result.reason, result.leaves_by) == (Verdict.TX, PacketReason.REMOTE_TX, "eth0")
            assert (result.packet.outer_dest, result.packet.dest) == (REMOTE.address, VIP)
    assert datapath.counters() == before


def test_a_trace_that_cannot_be_says_why(node: Node) -> None:
    request = TraceRequest(source=CLIENT, source_port=1, dest=VIP, dest_port=80)
    datapath = node.datapath()
    assert "no ingress device" in datapath.trace(request).problem
    done(datapath.apply(ATTACH))
    assert "eth9" in datapath.trace(msgspec.structs.replace(request, device="eth9")).problem
    assert "different families" in datapath.trace(msgspec.structs.replace(request, dest=VIP6)).problem


def test_neighbours_are_managed_while_a_backend_needs_them(node: Node) -> None:
    node.forget_router()
    datapath = node.attached()
    done(program(datapath, frontend(REMOTE)))
    shown = node.run("ip", "-d", "neigh", "show", str(ROUTER))
    assert "managed extern_learn" in shown
    assert "proto 76" in shown
    done(program(datapath, frontend(LOCAL)))
    assert "managed" not in node.run("ip", "-d", "neigh")


def test_uninstall_takes_away_all_that_is_ours(node: Node) -> None:
    node.ip("neigh add 192.168.1.50 lladdr 02:00:00:00:00:07 dev eth0 nud permanent")
    datapath = node.attached()
    done(program(datapath, BOTH))
    datapath.uninstall()
    assert node.link().xdp_prog == 0
    neighbours = node.run("ip", "-d", "neigh")
    assert "managed" not in neighbours
    assert "PERMANENT" in neighbours
    assert not [path for path in node.bpffs.rglob("*") if path.name.startswith(("lb_", "xdp-", "tcx-"))]
    # And it can be installed again.
    done(node.attached().apply(ATTACH))


def test_uninstall_takes_away_what_another_version_left(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, BOTH))
    with pytest.raises(TargetError, match="another agent"):
        uninstall(node.bpffs)
    datapath.close()
    with pytest.raises(TargetError):
        node.datapath(msgspec.structs.replace(SMALL, vips=9))
    held = shim.get(next((node.bpffs / "links").glob("xdp-*")))
    assert held is not None
    uninstall(node.bpffs)
    assert node.link().xdp_prog == 0  # although somebody holds the link open
    os.close(held)
    node.datapath(msgspec.structs.replace(SMALL, vips=9))


def test_uninstall_where_nothing_is(node: Node) -> None:
    uninstall(node.bpffs)
    assert not node.bpffs.exists()


def test_it_works_inside_a_running_event_loop(node: Node) -> None:
    async def inside() -> None:
        datapath = node.attached()
        done(program(datapath, BOTH))
        assert observe(datapath).attached

    asyncio.run(inside())


def test_not_built_is_said_plainly(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datapath.loader.load.__defaults__", (Path("/nonexistent/lb.bpf.o"),))
    with pytest.raises(TargetError, match="not built; run `make -C datapath`"):
        node.datapath()


def test_usage_tells_the_limits(node: Node) -> None:
    assert observe(node.datapath()).maps == {
        "lb_frontends": MapUsage(0, SMALL.frontends),
        "lb_vips": MapUsage(0, SMALL.vips),
        "lb_rows": MapUsage(0, SMALL.row_pages * 1024),
        "lb_backends": MapUsage(0, SMALL.backends),
        "lb_sources": MapUsage(0, SMALL.sources),
        "lb_decaps": MapUsage(0, SMALL.decaps),
    }


def test_the_state_of_a_failed_step(node: Node) -> None:
    outcome = node.datapath(devices=["nope"]).apply(ATTACH)
    assert outcome.state is OutcomeState.FAILED
    assert outcome.step == ATTACH
    assert shim.get(node.bpffs / "links" / "xdp-1") is None


def test_a_proof_does_not_look_for_what_cannot_be(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that was just added gets new connections only, and a datagram opens none: no port leads to it yet."""
    datapath = node.attached()
    before, after = (frontend(*backends, protocol=Protocol.UDP) for backends in ((LOCAL,), (LOCAL, REMOTE)))
    done(program(datapath, before))
    done(program(datapath, after))
    hashed: list[int] = []
    real = flow.flow_hashes

    def counted(*arguments: Any) -> Iterator[int]:
        for value in real(*arguments):
            hashed.append(value)
            yield value

    monkeypatch.setattr(flow, "flow_hashes", counted)
    done(verify(datapath, after))
    assert 0 < len(hashed) < 1000
