"""Folder, pins, links and devices: what is taken over, what is refused, what others do to them is seen and mended."""

from __future__ import annotations

import os
import subprocess
from ipaddress import IPv4Address

import msgspec
import pytest

from announcer.model.errors import TargetError
from announcer.model.lb import Hook
from announcer.model.steps import AttachDevices
from datapath.hand import Datapath
from tests.datapath.netns import pass_program
from tests.datapath.node import (
    LOCAL,
    REMOTE,
    ROUTER6,
    SMALL,
    Node,
    done,
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


def test_two_agents_on_one_folder(node: Node) -> None:
    node.datapath()
    with pytest.raises(TargetError, match="another agent uses this folder"):
        node.datapath()


def test_a_folder_inside_a_bpffs_will_do(node: Node) -> None:
    node.attached().close()
    inside = Datapath(bpffs=node.bpffs / "inside", limits=SMALL)
    inside.open()
    try:
        assert (node.bpffs / "inside" / "maps" / "lb_vips").exists()
        assert not os.path.ismount(node.bpffs / "inside")
    finally:
        inside.close()


def test_another_layout_is_refused_before_anything_is_touched(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, BOTH))
    datapath.close()
    pins = {path: path.stat().st_ino for path in node.bpffs.rglob("*")}
    with pytest.raises(TargetError, match=r"lb_backends has max_entries 64, this version needs 65") as caught:
        node.datapath(msgspec.structs.replace(SMALL, backends=65))
    assert not caught.value.retry
    assert {path: path.stat().st_ino for path in node.bpffs.rglob("*")} == pins
    again = node.datapath()
    assert observe(again).attached
    assert observe(again).frontends == {BOTH.key: BOTH}


def test_a_foreign_program_is_left_alone(node: Node) -> None:
    node.run("ip", "link", "set", "eth0", "xdp", "obj", str(pass_program(node.bpffs.parent)), "sec", "xdp")
    foreign = node.link().xdp_prog
    datapath = node.datapath()
    assert "another XDP program" in failed(datapath.apply(ATTACH))
    device = observe(datapath).devices["eth0"]
    assert not device.attached
    assert f"another XDP program (id {foreign})" in device.problem
    assert node.link().xdp_prog == foreign
    node.run("ip", "link", "set", "eth0", "xdp", "off")
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached


def test_xdp_off_cannot_take_a_link_away(node: Node) -> None:
    datapath = node.attached()
    subprocess.run(["ip", "link", "set", "eth0", "xdp", "off"], check=False, capture_output=True)
    assert observe(datapath).attached


@pytest.mark.parametrize("kind", ["xdp", "tcx"])
def test_a_detached_link_is_seen_and_mended(node: Node, kind: str) -> None:
    datapath = node.attached()
    done(program(datapath, frontend(LOCAL)))
    (pin,) = (node.bpffs / "links").glob(f"{kind}-*")
    node.run("bpftool", "link", "detach", "pinned", str(pin))
    device = observe(datapath).devices["eth0"]
    assert not device.attached
    assert device.problem == f"{kind} program was detached"
    failed(verify(datapath, frontend(LOCAL)))
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached
    proven(datapath, frontend(LOCAL))


@pytest.mark.parametrize("folder", ["links", "maps", "progs"])
def test_pins_that_were_removed_are_seen_and_restored(node: Node, folder: str) -> None:
    datapath = node.attached()
    done(program(datapath, BOTH))
    before = node.link().xdp_prog
    for path in (node.bpffs / folder).iterdir():
        path.unlink()
    device = observe(datapath).devices["eth0"]
    assert not device.attached
    assert "gone" in device.problem
    assert node.link().xdp_prog == before
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached
    datapath.close()
    again = node.datapath()
    assert observe(again).attached
    assert observe(again).frontends == {BOTH.key: BOTH}
    assert node.link().xdp_prog == before


def test_a_bpffs_that_was_unmounted_is_seen_and_mended(node: Node) -> None:
    datapath = node.attached()
    before = node.link().xdp_prog
    subprocess.run(["umount", "-l", node.bpffs], check=True)
    assert not observe(datapath).attached
    assert node.link().xdp_prog == before
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached
    assert node.link().xdp_prog == before


def test_a_device_that_is_made_anew_is_attached_again(node: Node) -> None:
    datapath = node.attached()
    node.ip("link del eth0")
    assert not observe(datapath).attached
    failed(datapath.apply(ATTACH))
    node.ip("link add eth0 type veth peer name e1", "addr add 192.168.1.21/24 dev eth0", "link set eth0 up")
    node.ip("link set e1 up", "route add default via 192.168.1.11")
    assert not observe(datapath).attached
    done(datapath.apply(ATTACH))
    assert observe(datapath).attached
    assert [path.name for path in (node.bpffs / "links").glob("xdp-*")] == [f"xdp-{node.link().ifindex}"]
    assert len(list((node.bpffs / "links").iterdir())) <= 2


def test_generic_where_the_device_has_no_native_xdp(node: Node) -> None:
    node.ip("link add br0 type bridge", "link set br0 up")
    datapath = node.datapath(devices=["br0"])
    done(datapath.apply(ATTACH))
    assert observe(datapath).devices["br0"].hook is Hook.XDP_GENERIC
    done(program(datapath, frontend(LOCAL)))
    proven(datapath, frontend(LOCAL))


def test_native_where_it_can_be(node: Node) -> None:
    assert observe(node.attached()).devices["eth0"].hook is Hook.XDP_NATIVE


def test_a_listed_device_that_does_not_exist(node: Node) -> None:
    datapath = node.datapath(devices=["eth0", "eth7"])
    assert "eth7" in failed(datapath.apply(ATTACH))
    seen = observe(datapath)
    assert seen.devices["eth0"].attached
    assert seen.devices["eth7"].problem == "no such device"
    assert not seen.attached


def test_devices_are_found_by_routes(node: Node) -> None:
    datapath = node.datapath()
    node.ip("link add up1 type veth peer name up1p", "link set up1 up", "link set up1p up")
    node.ip("addr add 172.16.0.1/24 dev up1")
    assert set(datapath.observe(()).devices) == {"eth0"}
    assert set(datapath.observe((IPv4Address("172.16.0.9"),)).devices) == {"eth0", "up1"}
    assert set(datapath.observe((IPv4Address("192.168.1.21"),)).devices) == {"eth0"}  # ourselves: by loopback
    node.ip("route del ::/0", "route del default")
    assert not datapath.observe(()).devices
    node.ip(f"route add ::/0 via {ROUTER6}")
    assert set(datapath.observe(()).devices) == {"eth0"}
    node.ip("route add default metric 5 nexthop via 172.16.0.9 nexthop via 192.168.1.11")
    assert set(datapath.observe(()).devices) == {"eth0", "up1"}


def test_no_device_at_all(node: Node) -> None:
    node.ip("route del default", "route del ::/0")
    datapath = node.datapath()
    assert "no ingress device" in failed(datapath.apply(ATTACH))
    assert not datapath.observe(()).attached
    assert "no ingress device" in failed(verify(datapath, frontend()))
