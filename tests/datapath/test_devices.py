"""Devices found by routes, live: which count, which do not, and what becomes of VIPs when they come, go and change."""

from __future__ import annotations

import asyncio
import select
from ipaddress import IPv4Address

import pytest

from announcer.model.lb import Hook
from announcer.model.steps import AttachDevices
from datapath import devices
from datapath.devices import Detector, leads_outside
from datapath.hand import Datapath
from datapath.notices import Notices
from datapath.rtnl import Link, Rtnl
from tests.datapath.netns import ip, pass_program, run
from tests.datapath.node import (
    LOCAL,
    ROUTER,
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

ATTACH = AttachDevices(lane="devices")
#: Some address that is reached by a route of its own.
FAR = IPv4Address("198.18.7.1")


@pytest.mark.parametrize(
    ("kind", "port_of", "ethernet", "with_route", "with_default"),
    [
        ("", "", True, True, True),
        ("bond", "", True, True, True),
        ("team", "", True, True, True),
        ("vlan", "", True, True, True),
        ("", "vrf", True, True, True),
        ("veth", "", True, False, True),
        ("macvlan", "", True, False, True),
        ("ipvlan", "", True, False, True),
        ("", "bond", True, False, False),
        ("", "team", True, False, False),
        ("", "bridge", True, False, False),
        ("vlan", "bridge", True, False, False),
        ("bridge", "", True, False, False),
        ("openvswitch", "", True, False, False),
        ("dummy", "", True, False, False),
        ("vxlan", "", True, False, False),
        ("geneve", "", True, False, False),
        ("vrf", "", True, False, False),
        ("tun", "", True, False, False),
        ("", "", False, False, False),
        ("wireguard", "", False, False, False),
    ],
)
def test_which_devices_count(kind: str, port_of: str, ethernet: bool, with_route: bool, with_default: bool) -> None:
    link = Link("x", 7, b"", 0, 0, kind=kind, port_of=port_of, ethernet=ethernet)
    assert leads_outside(link, default=False) is with_route
    assert leads_outside(link, default=True) is with_default


def found(datapath: Datapath, *toward: IPv4Address) -> dict[str, bool]:
    """Devices by name, and whether they are needed."""
    return {device.name: device.needed for device in datapath.observe(toward).devices.values()}


def veth(node: Node, name: str, address: str, *more: str) -> None:
    node.ip(f"link add {name} type veth peer name {name}p", f"link set {name}p up", f"link set {name} up")
    node.ip(f"addr add {address} dev {name}", *more)


@pytest.mark.root
def test_routes_of_every_table_count(node: Node) -> None:
    datapath = node.datapath()
    veth(node, "up1", "172.16.0.1/24", "route add default via 172.16.0.9 table 100", "rule add fwmark 7 table 100")
    assert found(datapath) == {"eth0": True, "up1": True}
    node.ip("route del default table 100", "route add default table 100 nexthop via 172.16.0.9 nexthop via 172.16.0.8")
    assert found(datapath) == {"eth0": True, "up1": True}
    node.ip("route del default table 100", "route add local default dev up1 table 100")
    assert found(datapath) == {"eth0": True}, "a route to ourselves leads nowhere"


@pytest.fixture
def card(node: Node, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device that counts with any route, as a network card does; kernels of test machines have few kinds to offer."""
    monkeypatch.setattr(devices, "_OUTSIDE", devices._OUTSIDE | {"ifb"})
    node.ip("link add card0 type ifb", "link set card0 up")
    return "card0"


@pytest.mark.root
def test_any_global_route_makes_a_card_count(node: Node, card: str) -> None:
    run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", f"net.ipv6.conf.{card}.disable_ipv6=0", netns=node.netns)
    datapath = node.datapath()
    node.ip(f"addr add 169.254.7.1/16 dev {card}", f"addr add fe80::7/64 dev {card} nodad")
    assert found(datapath) == {"eth0": True}, "link-local routes lead nowhere"
    node.ip(f"addr add 2001:db8:5::1/64 dev {card} nodad")
    assert found(datapath) == {"eth0": True, card: False}
    node.ip(f"addr del 2001:db8:5::1/64 dev {card}")
    assert found(datapath) == {"eth0": True}
    node.ip(f"addr add 172.16.5.1/24 dev {card}")
    assert found(datapath) == {"eth0": True, card: False}


@pytest.mark.root
def test_ports_of_a_bridge_do_not_count_and_the_bridge_does_towards_a_peer(node: Node) -> None:
    datapath = node.datapath()
    node.ip("link add br0 type bridge", "link set br0 up", "link set eth0 master br0", "addr flush dev eth0")
    node.ip("addr add 192.168.1.21/24 dev br0", f"route add default via {ROUTER}")
    assert found(datapath) == {}
    assert found(datapath, ROUTER) == {"br0": True}
    done(datapath.apply(AttachDevices(lane="devices", toward=(ROUTER,))))
    assert observe(datapath).devices["br0"].hook is Hook.XDP_GENERIC


@pytest.mark.root
def test_a_peer_behind_a_tunnel_without_ethernet_headers_is_a_problem(node: Node) -> None:
    node.ip("tuntap add t0 mode tun", "link set t0 up", f"route add {FAR} dev t0")
    datapath = node.datapath()
    toward = AttachDevices(lane="devices", toward=(FAR,))
    assert "no Ethernet device" in failed(datapath.apply(toward))
    device = datapath.observe((FAR,)).devices["t0"]
    assert (device.attached, device.needed) == (False, True)
    assert "no Ethernet device" in device.problem
    assert not datapath.observe((FAR,)).attached


@pytest.mark.root
def test_a_device_that_is_not_needed_withholds_nothing(node: Node, card: str) -> None:
    """A second card with a foreign program on it is said to be unserved; the VIPs go on by the uplink."""
    node.ip(f"addr add 172.16.5.1/24 dev {card}")
    obj = str(pass_program(node.bpffs.parent))
    node.run("ip", "link", "set", card, "xdpgeneric", "obj", obj, "sec", "xdp")
    datapath = node.datapath()
    assert "another XDP program" in failed(datapath.apply(ATTACH))
    seen = observe(datapath)
    assert (seen.attached, seen.complete) == (True, False)
    assert "another XDP program" in seen.devices[card].problem
    done(program(datapath, frontend(LOCAL)))
    proven(datapath, frontend(LOCAL))
    node.run("ip", "link", "set", card, "xdpgeneric", "off")
    done(datapath.apply(ATTACH))
    assert observe(datapath).complete
    proven(datapath, frontend(LOCAL))


@pytest.mark.root
def test_a_device_that_is_renamed_stays_attached(node: Node) -> None:
    datapath = node.attached()
    before = node.link()
    node.ip("link set eth0 down", "link set eth0 name wan0", "link set wan0 up", f"route add default via {ROUTER}")
    seen = observe(datapath)
    assert {name: device.attached for name, device in seen.devices.items()} == {"wan0": True}
    assert node.link("wan0") == before._replace(name="wan0")
    datapath.close()
    assert observe(node.datapath()).devices["wan0"].attached


@pytest.mark.root
def test_a_device_that_comes_is_attached_and_one_that_goes_is_forgotten(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, frontend(LOCAL)))
    veth(node, "up1", "172.16.0.1/24", "route add default via 172.16.0.9 metric 5")
    assert not observe(datapath).attached, "packets may arrive on it from now on"
    assert "up1" in failed(verify(datapath, frontend(LOCAL)))
    done(datapath.apply(ATTACH))
    proven(datapath, frontend(LOCAL))
    node.ip("link del up1")
    assert found(datapath) == {"eth0": True}
    proven(datapath, frontend(LOCAL))


@pytest.mark.root
def test_changes_are_told_and_nothing_is_asked_while_nothing_changes(node: Node) -> None:
    datapath = node.datapath()
    looks = counted_looks(datapath)

    def quiet() -> bool:
        """The kernel tells of a new device's carrier and addresses with some delay."""
        before = len(looks)
        return found(datapath) == {"eth0": True} and len(looks) == before

    def calm() -> bool:
        datapath.generation()
        return not select.select([datapath.news], [], [], 0)[0]

    eventually(quiet)
    eventually(calm)
    before, count = datapath.generation(), len(looks)
    ip(node.netns, ["route add 198.18.0.0/15 dev eth0"])
    assert select.select([datapath.news], [], [], 5)[0]
    assert datapath.generation() > before
    eventually(calm, "it was read, so nobody is woken again")
    eventually(quiet)
    assert len(looks) > count


def counted_looks(datapath: Datapath) -> list[int]:
    """Grows by one for every look through all routes."""
    looks: list[int] = []
    detector = datapath._detector
    original = detector._look

    def look(toward: tuple[IPv4Address, ...]) -> object:
        looks.append(1)
        return original(toward)

    detector._look = look  # type: ignore[assignment,method-assign]
    return looks


@pytest.mark.root
def test_a_flood_of_changes_is_noticed_too(node: Node) -> None:
    """More notices than the socket holds: some are lost, but not that there were any."""
    notices = Notices()
    try:
        before = notices.generation()
        lines = [f"route add 10.{a}.{b}.0/24 dev eth0" for a in range(100, 140) for b in range(250)]
        ip(node.netns, lines)
        assert notices.generation() > before
        assert notices.generation() == notices.generation()
    finally:
        notices.close()


@pytest.mark.root
def test_a_long_look_is_not_repeated_at_once(node: Node) -> None:
    now = [0.0]

    class Slow(Rtnl):
        def reach(self):  # type: ignore[no-untyped-def]
            now[0] += 1.0
            return super().reach()

    rtnl, notices = Slow(), Notices()
    detector = Detector(rtnl, notices, None, lambda: now[0], lambda: now[0])
    try:
        assert set(detector.wanted(())) == {"eth0"}
        node.ip("route del default", "route del ::/0")
        assert set(detector.wanted(())) == {"eth0"}, "still resting from a look of a second"
        now[0] += 20.0
        assert set(detector.wanted(())) == set()
    finally:
        rtnl.close()
        notices.close()


@pytest.mark.root
def test_the_agent_is_woken_by_a_change(node: Node) -> None:
    from announcer.run.forwarding import ByPrograms

    class Woken:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        def wake(self) -> None:
            self.event.set()

    async def scenario() -> None:
        datapath, woken = node.datapath(), Woken()
        following = asyncio.ensure_future(ByPrograms(datapath).follow(woken))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        node.ip("route add 198.18.0.0/15 dev eth0")
        await asyncio.wait_for(woken.event.wait(), 10)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(scenario())
