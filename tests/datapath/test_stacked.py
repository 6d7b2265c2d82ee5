"""VLAN devices and bonds, as far as it can be told without their drivers; tests/kernels/stacked.py has those."""

from __future__ import annotations

import pytest

from datapath import abi, packet, probe
from datapath.abi import PacketReason, Verdict
from datapath.hand import Datapath
from datapath.rtnl import Vlan
from datapath.stacked import UNTAGGED, Arrival, arrivals, strips_tags, ways
from tests.datapath.node import (
    CLIENT,
    CLIENT6,
    LOCAL,
    REMOTE,
    REMOTE6,
    VIP,
    VIP6,
    Node,
    done,
    failed,
    frontend,
    observe,
    program,
    proven,
    verify,
)
from tests.datapath.test_attach import ATTACH

Q, AD = 0x8100, 0x88A8
CARD, BOND, PORT, OTHER_PORT = 2, 3, 4, 5
PORTS = {PORT: BOND, OTHER_PORT: BOND}


def test_a_tag_leads_to_its_device() -> None:
    assert arrivals([Vlan(10, CARD, 100, Q), Vlan(11, CARD, 200, Q)], {}) == {
        Arrival(CARD, (100, 0)): 10,
        Arrival(CARD, (200, 0)): 11,
    }


def test_two_tags_lead_to_the_device_on_top_of_the_device_on_top() -> None:
    outer, inner = Vlan(10, CARD, 100, AD), Vlan(11, 10, 200, Q)
    assert arrivals([outer, inner], {}) == {
        Arrival(CARD, (100, 0)): 10,
        Arrival(CARD, (100, 200)): 11,
        Arrival(10, (200, 0)): 11,
    }


def test_the_ports_of_a_bond_have_all_that_is_on_top_of_it() -> None:
    found = arrivals([Vlan(10, BOND, 100, Q)], PORTS)
    assert {arrival.below for arrival in found} == {BOND, PORT, OTHER_PORT}
    for port in PORTS:
        assert found[Arrival(port, UNTAGGED)] == BOND
        assert found[Arrival(port, (100, 0))] == 10
    assert Arrival(BOND, UNTAGGED) not in found


@pytest.mark.parametrize("kind", ["bridge", "openvswitch"])
def test_what_a_bridge_gets_is_not_for_this_node(kind: str) -> None:
    assert arrivals([Vlan(10, CARD, 100, Q, port_of=kind)], {}) == {}
    assert arrivals([Vlan(10, CARD, 100, Q, port_of="vrf")], {}) == {Arrival(CARD, (100, 0)): 10}


def test_a_tag_of_priority_alone_is_no_tag() -> None:
    assert arrivals([Vlan(10, CARD, 0, Q)], {}) == {}


def test_a_frame_leaves_by_the_device_below_with_all_tags() -> None:
    outer, inner, third = Vlan(10, CARD, 100, AD), Vlan(11, 10, 200, Q), Vlan(12, 11, 300, Q)
    assert ways([outer, inner, third]) == {10: (CARD, (outer,)), 11: (CARD, (outer, inner))}


def pretend(monkeypatch: pytest.MonkeyPatch, vlans: list[Vlan], ports: dict[int, int] | None = None) -> None:
    """As the kernel would tell if it had the drivers."""
    monkeypatch.setattr("datapath.rtnl.Rtnl.vlans", lambda _: vlans)
    monkeypatch.setattr("datapath.rtnl.Rtnl.bond_ports", lambda _: ports or {})


def through(
    datapath: Datapath, ifindex: int, vip: object, tags: tuple[int, ...] = (), to: bytes = bytes(6)
) -> probe.Answer:
    key = frontend(vip=vip).key  # type: ignore[arg-type]
    flow = packet.Flow(CLIENT if vip == VIP else CLIENT6, 4242, key.vip, key.port, key.protocol)
    return probe.run(datapath._prog, ifindex, packet.build(flow, to, tags))


@pytest.mark.root
@pytest.mark.parametrize(("vip", "backend"), [(VIP, REMOTE), (VIP6, REMOTE6)], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("tags", [(100,), (100, 200)], ids=["tag", "tags"])
def test_xdp_sends_by_the_device_below_with_the_tags(
    node: Node, monkeypatch: pytest.MonkeyPatch, vip: object, backend: object, tags: tuple[int, ...]
) -> None:
    """``eth0``, by which the other node is reached, is made a VLAN device, ``pod`` the device below it."""
    uplink, below = node.link("eth0").ifindex, node.link("pod").ifindex
    layers = [Vlan(uplink, below, 100, Q)] if len(tags) == 1 else [Vlan(900, below, 100, AD), Vlan(uplink, 900, 200, Q)]
    pretend(monkeypatch, layers)
    datapath = node.attached()
    done(program(datapath, frontend(backend, vip=vip)))  # type: ignore[arg-type]
    proven(datapath, frontend(backend, vip=vip))  # type: ignore[arg-type]
    # In by another device, without a tag: out by the device below.
    answer = through(datapath, node.link("podside").ifindex, vip)
    assert (answer.verdict, answer.reason, answer.ifindex) == (Verdict.REDIRECT, PacketReason.REMOTE_REDIRECT, below)
    kinds = [b"\x81\x00"] if len(tags) == 1 else [b"\x88\xa8", b"\x81\x00"]
    expected = b"".join(kind + tag.to_bytes(2, "big") for kind, tag in zip(kinds, tags, strict=True))
    network = b"\x08\x00" if vip == VIP else b"\x86\xdd"
    assert answer.frame[12 : 14 + len(expected)] == expected + network
    parsed = packet.parse(answer.frame)
    assert parsed is not None
    assert parsed.sound
    assert parsed.outer is not None
    # In by the device below, without a tag: out by it with one.
    answer = through(datapath, below, vip)
    assert (answer.verdict, answer.reason) == (Verdict.TX, PacketReason.REMOTE_TX)
    assert answer.frame[12 : 14 + len(expected)] == expected + network
    # In by the same VLAN: back the way it came, and the tags stay.
    answer = through(datapath, below, vip, tags, node.link().address)
    assert (answer.verdict, answer.reason) == (Verdict.TX, PacketReason.REMOTE_TX)
    assert answer.frame[14:16] == tags[0].to_bytes(2, "big")


@pytest.mark.root
def test_the_port_of_a_bond_stands_for_the_bond(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program runs on the port; what leaves by the bond goes back the way that it came."""
    port, bond = node.link("pod").ifindex, node.link("eth0").ifindex
    datapath = node.attached()
    done(program(datapath, frontend(REMOTE)))
    proven(datapath, frontend(REMOTE))
    assert through(datapath, port, VIP).reason is PacketReason.REMOTE_REDIRECT
    pretend(monkeypatch, [], {port: bond})
    node.ip("link set podside down")  # something changes, so the devices are looked at
    observe(datapath)
    answer = through(datapath, port, VIP)
    assert answer.reason is PacketReason.OTHER_HOST, "it is for another host: the bond's address is not on the frame"
    pretend(monkeypatch, [])
    node.ip("link set podside up")
    observe(datapath)
    assert through(datapath, port, VIP).reason is PacketReason.REMOTE_REDIRECT


@pytest.mark.root
def test_maps_are_as_the_devices_are(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if somebody else writes into them, and without a device the fast way is taken."""
    uplink = node.link().ifindex
    pretend(monkeypatch, [Vlan(77, uplink, 100, Q)])
    datapath = node.attached()
    maps = datapath._loaded.maps
    wanted = {abi.VLAN_KEY.pack(uplink, 100, 0): abi.VLAN.pack(77)}
    assert maps.vlans.dump() == wanted
    assert not unstacked(datapath)
    maps.vlans.remove(*wanted)
    maps.vlans.put(abi.VLAN_KEY.pack(uplink, 5, 0), abi.VLAN.pack(78))
    observe(datapath)
    assert maps.vlans.dump() == wanted
    pretend(monkeypatch, [])
    node.ip("link set podside down")
    observe(datapath)
    assert (maps.vlans.dump(), maps.vlan_ways.dump()) == ({}, {})
    assert unstacked(datapath)


def unstacked(datapath: Datapath) -> int:
    return datapath._loaded.maps.sieve.words[abi.UNSTACKED_AT // 4]


@pytest.mark.root
def test_whether_a_device_takes_tags_off(node: Node) -> None:
    for on in (True, False):
        node.run("ethtool", "-K", "eth0", "rxvlan", "on" if on else "off")
        assert strips_tags("eth0") is on


@pytest.mark.root
def test_a_card_that_takes_tags_off_is_a_problem_of_the_vlan_device(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``up1`` stands in for a VLAN device on ``eth0``; both have our program."""
    node.ip("link add up1 type veth peer name up1p", "link set up1p up", "link set up1 up")
    node.ip("addr add 172.16.0.1/24 dev up1", "route add default via 172.16.0.9 metric 5")
    pretend(monkeypatch, [Vlan(node.link("up1").ifindex, node.link().ifindex, 100, Q)])
    node.run("ethtool", "-K", "eth0", "rxvlan", "on")
    datapath = node.datapath()
    assert "ethtool -K eth0 rxvlan off" in failed(datapath.apply(ATTACH))
    seen = observe(datapath).devices
    assert (seen["eth0"].attached, seen["up1"].attached) == (True, False)
    assert "takes VLAN tags off" in seen["up1"].problem
    done(program(datapath, frontend(LOCAL)))
    assert "takes VLAN tags off" in failed(verify(datapath, frontend(LOCAL)))
    node.run("ethtool", "-K", "eth0", "rxvlan", "off")
    done(datapath.apply(ATTACH))
    assert observe(datapath).complete
    proven(datapath, frontend(LOCAL))


@pytest.mark.root
def test_the_proof_sends_tagged_packets_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.run("ethtool", "-K", "eth0", "rxvlan", "off")
    node.ip("link add up1 type veth peer name up1p", "link set up1p up", "link set up1 up")
    node.ip("addr add 172.16.0.1/24 dev up1", "route add default via 172.16.0.9 metric 5")
    uplink = node.link().ifindex
    pretend(monkeypatch, [Vlan(node.link("up1").ifindex, uplink, 100, Q)])
    datapath = node.attached()
    done(program(datapath, frontend(LOCAL)))
    proven(datapath, frontend(LOCAL))
    datapath._loaded.maps.vlans.remove(abi.VLAN_KEY.pack(uplink, 100, 0))
    assert "on eth0 with tag 100" in failed(verify(datapath, frontend(LOCAL)))
