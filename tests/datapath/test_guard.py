"""Unused addresses of guarded aggregates, packet by packet and as a set of prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, IPOption
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

from announcer.model.net import IPNetwork
from announcer.model.observed import Outcome
from announcer.model.steps import GuardAggregate, UnguardAggregate
from datapath import encode, probe, shim
from datapath.abi import Verdict
from datapath.hand import Datapath
from tests.datapath.frames import SENDER, frame, ipip, tcp, udp
from tests.datapath.netns import Names, entered
from tests.datapath.node import CLIENT, LOCAL, NODE, SMALL, VIP, Node, done, failed, frontend, observe, program, proven

AGGREGATE, OF_NODES, IPV6 = map(ip_network, ("203.0.113.0/28", "192.168.1.0/24", "2001:db8:7::/120"))
UNUSED = "203.0.113.11"


def guard(datapath: Datapath, prefix: IPNetwork) -> Outcome:
    return datapath.apply(GuardAggregate(lane="guard", prefix=prefix))


def unguard(datapath: Datapath, prefix: IPNetwork) -> Outcome:
    return datapath.apply(UnguardAggregate(lane="guard", prefix=prefix))


class Wire:
    """A node with a VIP in a guarded aggregate, and its way to the rest of the world by the default route."""

    def __init__(self, node: Node) -> None:
        self.datapath = node.attached()
        done(program(self.datapath, frontend(LOCAL)))
        proven(self.datapath, frontend(LOCAL))
        for prefix in (AGGREGATE, OF_NODES, IPV6):
            done(guard(self.datapath, prefix))
        self.link = node.link()

    def ends(self, packet: Any) -> tuple[str, str]:
        """Verdict and counted reason of a packet from the wire; a probe must end the same way, uncounted."""
        sent = frame(packet, self.link.address) if isinstance(packet, IP) else bytes(packet)
        before = self.datapath.counters()
        verdict, _, out = shim.run_xdp(self.datapath._prog, self.link.ifindex, sent, b"")
        after = self.datapath.counters()
        (reason,) = [name for name, count in after.items() if count != before[name]]
        answer = probe.run(self.datapath._prog, self.link.ifindex, sent)
        assert (answer.verdict, answer.reason) == (tuple(Verdict)[verdict], reason)
        assert self.datapath.counters() == after
        if reason in ("unassigned", "not_ours"):
            assert out == sent
        return str(tuple(Verdict)[verdict]), reason

    def ipv6(self, dest: str) -> Any:
        ether = Ether(src=SENDER, dst=self.link.address.hex(":"))
        return ether / IPv6(src="2001:db8:9::1", dst=dest) / ICMPv6EchoRequest()


@pytest.fixture(scope="module")
def wire(built: None, _swept: None) -> Iterator[Wire]:
    names = Names()
    try:
        node = Node(names)
        with entered(node.netns):
            yield Wire(node)
            node.close()
    finally:
        names.remove()


DROPPED = {
    "tcp": tcp(dst=UNUSED),
    "udp": udp(dst=UNUSED),
    "icmp": IP(src=str(CLIENT), dst=UNUSED) / ICMP(),
    "options": tcp(dst=UNUSED, ihl=6, options=IPOption(b"\x01\x01\x01\x00")),
    "fragment": IP(src=str(CLIENT), dst=UNUSED, frag=8) / bytes(40),
    "ipip": ipip(tcp(), dst=UNUSED),
    "another protocol": IP(src=str(CLIENT), dst=UNUSED, proto=89) / bytes(20),
    "nothing behind the header": IP(src=str(CLIENT), dst=UNUSED, proto=6),
    "first address": tcp(dst=AGGREGATE[0]),
    "last address": tcp(dst=AGGREGATE[-1]),
    "a host of a guarded network": tcp(dst="192.168.1.77"),
}


@pytest.mark.root
@pytest.mark.parametrize("name", DROPPED)
def test_packets_to_unused_addresses_are_dropped(wire: Wire, name: str) -> None:
    assert wire.ends(DROPPED[name]) == ("drop", "unassigned")


OTHERS = {
    "before the aggregate": (tcp(dst="203.0.112.255"), ("pass", "not_ours")),
    "behind the aggregate": (tcp(dst="203.0.113.16"), ("pass", "not_ours")),
    "this node itself, though the aggregate covers it": (tcp(dst=NODE, dport=22), ("pass", "not_ours")),
    "broadcast of the node's network": (udp(dst="192.168.1.255"), ("pass", "not_ours")),
    "the VIP": (tcp(dst=VIP), ("pass", "local")),
    "the VIP on another port": (tcp(dst=VIP, dport=81), ("drop", "no_service")),
    "ICMP to the VIP": (IP(src=str(CLIENT), dst=str(VIP)) / ICMP(type=13), ("drop", "icmp")),
    "no IP at all": (Ether(src=SENDER, dst="ff:ff:ff:ff:ff:ff", type=0x0806) / bytes(28), ("pass", "not_ours")),
}


@pytest.mark.root
@pytest.mark.parametrize("name", OTHERS)
def test_all_other_packets_end_as_without_a_guard(wire: Wire, name: str) -> None:
    packet, expected = OTHERS[name]
    assert wire.ends(packet) == expected


@pytest.mark.root
@pytest.mark.parametrize(
    ("dest", "expected"),
    [
        ("2001:db8:7::1", ("drop", "unassigned")),
        ("2001:db8:7::ff", ("drop", "unassigned")),
        ("2001:db8:7::100", ("pass", "not_ours")),
        ("2001:db8:1::21", ("pass", "not_ours")),
        ("ff02::1:ff00:1", ("pass", "not_ours")),
    ],
    ids=["unused", "last", "behind", "this node", "neighbour discovery"],
)
def test_ipv6(wire: Wire, dest: str, expected: tuple[str, str]) -> None:
    assert wire.ends(wire.ipv6(dest)) == expected


@pytest.mark.root
def test_a_node_that_forwards_nothing_keeps_what_is_its_own(node: Node) -> None:
    wire = Wire(node)
    assert wire.ends(tcp(dst=UNUSED)) == ("drop", "unassigned")
    node.run("sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=0")
    assert wire.ends(tcp(dst=NODE, dport=22)) == ("pass", "not_ours")
    assert wire.ends(tcp(dst=UNUSED)) == ("pass", "not_ours")


@pytest.mark.root
def test_guards_are_read_back_and_outlive_the_agent(node: Node) -> None:
    datapath = node.attached()
    for prefix in (AGGREGATE, AGGREGATE, IPV6):
        done(guard(datapath, prefix))
    assert observe(datapath).guards == {AGGREGATE, IPV6}
    datapath.close()
    again = node.datapath()
    assert observe(again).guards == {AGGREGATE, IPV6}
    done(unguard(again, AGGREGATE))
    done(unguard(again, AGGREGATE))
    assert observe(again).guards == {IPV6}


@pytest.mark.root
def test_a_full_map_refuses_one_more_and_keeps_the_rest(node: Node) -> None:
    datapath = node.attached()
    prefixes: list[IPNetwork] = list(IPv4Network("203.0.113.0/24").subnets(new_prefix=30))
    for prefix in prefixes[: SMALL.guards]:
        done(guard(datapath, prefix))
    assert "full" in failed(guard(datapath, prefixes[-1]))
    assert observe(datapath).guards == set(prefixes[: SMALL.guards])


networks = st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda n: ip_network((a, n), strict=False)))
networks6 = st.ip_addresses(v=6).flatmap(lambda a: st.integers(0, 95).map(lambda n: ip_network((a, n), strict=False)))


@given(networks | networks6)
def test_a_key_comes_back(prefix: IPNetwork) -> None:
    assert encode.decode_guard_key(encode.guard_key(prefix)) == prefix


def test_ipv4_stands_in_the_mapped_range() -> None:
    key = encode.guard_key(AGGREGATE)
    assert (key[:4], key[4:]) == ((96 + 28).to_bytes(4, "little"), bytes(10) + b"\xff\xff" + bytes([203, 0, 113, 0]))
