"""The egress program as a filter of tc, as on kernels without tcx: ours is kept, and what others have is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from announcer.model.errors import TargetError
from announcer.model.steps import AttachDevices
from datapath import shim, tc
from datapath.hand import Datapath
from datapath.netlink import HEADER
from datapath.settle import EGRESS
from datapath.uninstall import uninstall
from tests.datapath.conftest import ROOT
from tests.datapath.netns import variant
from tests.datapath.node import (
    LOCAL,
    REMOTE,
    SMALL,
    Node,
    done,
    eventually,
    failed,
    frontend,
    observe,
    program,
    proven,
    verify,
)

pytestmark = pytest.mark.root

ATTACH = AttachDevices(lane="devices")
BOTH = frontend(LOCAL, REMOTE)
DROPS_REPLIES = ("lb.bpf.c", "return reason == LB_reply ? -1 : 2;", "return 2;")
#: A filter of somebody else: lets everything pass.
U32 = ["protocol", "all", "u32", "match", "u32", "0", "0"]
OTHERS = ["pref", "7", *U32]
#: The same where ours would be.
IN_OUR_PLACE = ["pref", str(tc.PRIORITY), "handle", hex(tc.HANDLE), "bpf", "bytecode", "1,6 0 0 0"]
_RTMGRP_TC = 0x8


@pytest.fixture
def old(node: Node) -> Node:
    """A node whose datapaths use filters."""
    node.tcx = False
    return node


def filters(node: Node, side: str = "egress", device: str = "eth0") -> list[dict[str, Any]]:
    """Filters with a handle, that is without the lines that only announce a priority."""
    shown: list[dict[str, Any]] = json.loads(node.run("tc", "-j", "filter", "show", "dev", device, side))
    return [each for each in shown if "options" in each]


def qdisc(node: Node) -> str:
    """The kind of the qdisc that filters on both sides would be in."""
    shown = json.loads(node.run("tc", "-j", "qdisc", "show", "dev", "eth0"))
    return next((str(each["kind"]) for each in shown if each["handle"] == "ffff:"), "")


def ours(node: Node) -> int:
    """The program in our filter, 0 if there is none."""
    found = [each["options"]["prog"]["id"] for each in filters(node) if each["options"].get("handle") == hex(tc.HANDLE)]
    assert len(found) <= 1
    return found[0] if found else 0


def test_the_kernel_is_asked_for_tcx(node: Node) -> None:
    datapath = node.datapath()
    prog = datapath._loaded.programs[EGRESS].fd
    has = shim.has_tcx(prog)
    if has:
        os.close(shim.attach_tcx_egress(prog, node.link().ifindex))
    else:
        with pytest.raises(TargetError, match="Invalid argument"):
            shim.attach_tcx_egress(prog, node.link().ifindex)
    done(datapath.apply(ATTACH))
    assert bool(ours(node)) != has
    assert bool(list((node.bpffs / "links").glob("tcx-*"))) == has


def test_attached_and_observed(old: Node) -> None:
    datapath = old.datapath()
    assert not observe(datapath).attached
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached
    (found,) = filters(old)
    assert (found["protocol"], found["pref"], found["options"]["direct-action"]) == ("all", tc.PRIORITY, True)
    assert found["options"]["prog"]["id"] == datapath._loaded.programs[EGRESS].id
    assert not filters(old, "ingress")
    assert not list((old.bpffs / "links").glob("tcx-*"))


def test_a_new_agent_leaves_it_as_it_is(old: Node) -> None:
    first = old.attached()
    done(program(first, BOTH))
    proven(first, BOTH)
    before, seen = filters(old), observe(first)
    first.close()
    assert filters(old) == before
    with notifications(old) as events:
        second = old.datapath()
        assert observe(second) == msgspec.structs.replace(seen, adopted=True)
        done(second.apply(ATTACH))
        assert not events()
    assert filters(old) == before
    proven(second, BOTH)


@contextlib.contextmanager
def notifications(node: Node) -> Iterator[Any]:
    """What the kernel tells about qdiscs and filters of the namespace that the test is in."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as listener:
        listener.bind((0, _RTMGRP_TC))
        listener.setblocking(False)

        def events() -> list[int]:
            found = []
            with contextlib.suppress(BlockingIOError):
                while data := listener.recv(65536):
                    found.append(HEADER.unpack_from(data)[1])
            return found

        yield events


def test_another_version_takes_its_place_without_a_gap(old: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    first = old.attached()
    done(program(first, BOTH))
    before = ours(old)
    first.close()
    monkeypatch.setattr("datapath.loader.load.__defaults__", (variant(old.bpffs.parent, *DROPS_REPLIES),))
    with notifications(old) as events:
        second = old.datapath()
        assert events() == [tc._NEWFILTER]  # exchanged once, never deleted
    assert ours(old) == second._loaded.programs[EGRESS].id != before
    assert observe(second).attached
    second.uninstall()
    assert not qdisc(old)  # it is still known that we made it


def test_if_one_device_refuses_all_keep_the_old(old: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    old.ip("link add eth1 type veth peer name far1", "link set eth1 up", "link set far1 up")
    devices = ["eth0", "eth1"]
    first = old.datapath(devices=devices)
    done(first.apply(ATTACH))
    before = ours(old), filters(old, device="eth1")
    first.close()
    second = socket.if_nametoindex("eth1")
    real = tc.Tc._new_filter

    def refuses(self: tc.Tc, ifindex: int, prog: int, flags: int, *, our_qdisc: bool) -> None:
        if ifindex == second:
            raise TargetError("tc filter add", errno=28)
        real(self, ifindex, prog, flags, our_qdisc=our_qdisc)

    with monkeypatch.context() as patch:
        patch.setattr("datapath.loader.load.__defaults__", (variant(old.bpffs.parent, *DROPS_REPLIES),))
        patch.setattr(tc.Tc, "_new_filter", refuses)
        with pytest.raises(TargetError, match="No space left"):
            old.datapath(devices=devices)
    assert (ours(old), filters(old, device="eth1")) == before
    assert observe(old.datapath(devices=devices)).attached


def test_it_stays_when_the_agent_is_killed(old: Node) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.datapath.child", old.bpffs, "filter"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"attached\n"
    attached = ours(old)
    child.kill()
    child.wait()
    child.stdout.close()
    assert attached
    assert ours(old) == attached
    assert observe(old.datapath()).attached


@pytest.mark.parametrize("how", [["filter", "del", "dev", "eth0", "egress"], ["qdisc", "del", "dev", "eth0", "clsact"]])
def test_taken_away_it_is_seen_and_mended(old: Node, how: list[str]) -> None:
    datapath = old.attached()
    done(program(datapath, frontend(LOCAL)))
    proven(datapath, frontend(LOCAL))
    old.run("tc", *how)
    assert observe(datapath).devices["eth0"].problem == "egress filter not attached"
    assert "egress filter not attached" in failed(verify(datapath, frontend(LOCAL)))
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached
    proven(datapath, frontend(LOCAL))


def test_another_program_in_our_filter_is_seen_and_mended(old: Node) -> None:
    datapath = old.attached()
    other = shim.get(old.bpffs / "progs" / EGRESS)
    assert other is not None
    stranger = Datapath(bpffs=old.bpffs.parent / "bpf2", limits=SMALL, tcx=False)
    stranger.open()
    try:
        datapath._tc.put(old.link().ifindex, stranger._loaded.programs[EGRESS].fd)
        assert "another program" in observe(datapath).devices["eth0"].problem
        done(datapath.apply(ATTACH))
        assert observe(datapath).attached
    finally:
        stranger.close()


def test_what_others_have_there_stays(old: Node) -> None:
    old.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    for side in ("ingress", "egress"):
        old.run("tc", "filter", "add", "dev", "eth0", side, *OTHERS)
    before = filters(old, "ingress"), filters(old, "egress")
    datapath = old.attached()
    assert ours(old)
    datapath.uninstall()
    assert not ours(old)
    assert (filters(old, "ingress"), filters(old, "egress")) == before


def test_a_qdisc_that_was_there_before_stays(old: Node) -> None:
    old.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    old.attached().uninstall()
    assert not filters(old)
    assert qdisc(old) == "clsact"


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_a_qdisc_of_ours_stays_while_others_use_it(old: Node, side: str) -> None:
    datapath = old.attached()
    old.run("tc", "filter", "add", "dev", "eth0", side, *OTHERS)
    before = [each for each in filters(old, side) if each["kind"] != "bpf"]
    datapath.uninstall()
    assert filters(old, side) == before != []


def test_nothing_is_left_of_ours(old: Node) -> None:
    datapath = old.attached()
    datapath.uninstall()
    assert not qdisc(old)
    assert old.link().xdp_prog == 0
    done(old.attached().apply(ATTACH))


def test_an_ingress_qdisc_has_no_egress_side(old: Node) -> None:
    """The kernel would take the filter there, and run it on what comes in."""
    old.run("tc", "qdisc", "add", "dev", "eth0", "ingress")
    datapath = old.datapath()
    assert "it has a qdisc ingress where clsact is needed" in failed(datapath.apply(ATTACH))
    assert not observe(datapath).attached
    assert qdisc(old) == "ingress"
    assert not filters(old, "ingress")
    old.run("tc", "qdisc", "del", "dev", "eth0", "ingress")
    done(datapath.apply(ATTACH))


def test_a_filter_in_our_place_is_left_alone(old: Node) -> None:
    old.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    old.run("tc", "filter", "add", "dev", "eth0", "egress", *IN_OUR_PLACE)
    before = filters(old)
    datapath = old.datapath()
    assert "another's filter has priority" in failed(datapath.apply(ATTACH))
    assert not observe(datapath).attached
    datapath.uninstall()
    assert filters(old) == before


def test_another_kind_of_filter_at_our_priority_is_left_alone(old: Node) -> None:
    old.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    old.run("tc", "filter", "add", "dev", "eth0", "egress", "pref", str(tc.PRIORITY), *U32)
    before = filters(old)
    datapath = old.datapath()
    failed(datapath.apply(ATTACH))
    assert not observe(datapath).attached
    datapath.uninstall()
    assert filters(old) == before


def test_what_cannot_be_attached_leaves_no_qdisc(old: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    datapath = old.datapath()
    with monkeypatch.context() as patch:
        patch.setattr(tc, "_BPF_FD", 60)  # a filter without a program is refused
        failed(datapath.apply(ATTACH))
    assert not qdisc(old)
    done(datapath.apply(ATTACH))


def test_uninstall_of_another_folder_takes_nothing(old: Node) -> None:
    datapath = old.attached()
    uninstall(old.bpffs.parent / "other")
    assert observe(datapath).attached


def test_uninstall_finds_it_where_the_links_are_long_gone(old: Node) -> None:
    old.attached().close()
    for path in (old.bpffs / "links").iterdir():
        path.unlink()
    eventually(lambda: old.link().xdp_prog == 0)
    assert ours(old)
    uninstall(old.bpffs)
    assert not ours(old)
    assert not qdisc(old)


def test_a_new_agent_takes_over_what_lost_its_folder(old: Node) -> None:
    old.attached().close()
    lost = ours(old)
    subprocess.run(["umount", "-l", old.bpffs], check=True)
    eventually(lambda: old.link().xdp_prog == 0, "the links are gone: the kernel lets go of them in its own time")
    datapath = old.datapath()
    assert "not attached" in observe(datapath).devices["eth0"].problem
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached
    assert ours(old) not in (0, lost)
