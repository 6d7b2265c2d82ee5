"""The ingress program, packet by packet, by BPF_PROG_TEST_RUN.

Every row is run twice: as a packet from the wire, which is counted, and marked as a probe, which is not; both must end
the same way with the same packet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from announcer.model.lb import Backend
from announcer.model.net import Protocol
from datapath import abi, flow, packet, probe, readback, shim
from datapath.abi import PacketReason, Verdict
from datapath.hand import Datapath
from tests.datapath.frames import SENDER, encapsulated, frame, ipip, raw, tcp, translated, udp
from tests.datapath.netns import Names, entered
from tests.datapath.node import CLIENT, LOCAL, REMOTE, VIP, Node, done, frontend, program, proven

pytestmark = pytest.mark.root

PROBE = abi.PROBE.pack(abi.PROBE_MAGIC, 0, 0, 0)
UDP_LOCAL = Backend(LOCAL.address, 5353, True)
SERVED = [
    frontend(LOCAL, port=80),
    frontend(REMOTE, port=81),
    frontend(port=82),
    frontend(UDP_LOCAL, port=53, protocol=Protocol.UDP),
    frontend(REMOTE, port=54, protocol=Protocol.UDP),
]


class Wire(NamedTuple):
    datapath: Datapath
    prog: int
    ifindex: int
    mac: bytes
    router: bytes


@pytest.fixture(scope="module")
def wire(built: None, _swept: None) -> Iterator[Wire]:
    names = Names()
    try:
        node = Node(names)
        with entered(node.netns):
            datapath = node.attached()
            for wanted in SERVED:
                done(program(datapath, wanted))
            proven(datapath, *SERVED)
            link = node.link()
            with entered(node.router):
                router = node.link("e0").address
            yield Wire(datapath, datapath._prog, link.ifindex, link.address, router)
            node.close()
    finally:
        names.remove()


def moved(wire: Wire, before: dict[str, int]) -> dict[str, int]:
    after = wire.datapath.counters()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def check(wire: Wire, sent: bytes, verdict: Verdict, reason: str, expected: bytes) -> None:
    before = wire.datapath.counters()
    got, _, out = shim.run_xdp(wire.prog, wire.ifindex, sent, b"")
    assert (tuple(Verdict)[got], moved(wire, before)) == (verdict, {reason: 1})
    if verdict is not Verdict.DROP:
        assert out.hex() == expected.hex()
    before = wire.datapath.counters()
    answer = probe.run(wire.prog, wire.ifindex, sent)
    assert (answer.verdict, answer.reason) == (verdict, reason)
    assert answer.frame == out
    assert moved(wire, before) == {}


def mangled_to_zero() -> Any:
    """A datagram whose checksum comes out as zero for the new addresses: it has to be sent as all ones."""
    with_zero = translated(udp(payload=bytes(2)), UDP_LOCAL.port)
    word = raw(with_zero).getlayer("UDP").chksum
    return udp(payload=word.to_bytes(2, "big"))


LOCALLY = {
    "syn": tcp(),
    "payload": tcp(payload=b"GET / HTTP/1.1\r\n\r\n"),
    "odd payload": tcp(payload=b"abc"),
    "tos and ttl": tcp(tos=0xBB, ttl=3),
    "ttl 1 is the stack's business": tcp(ttl=1),
    "large": tcp(payload=bytes(1400)),
    "do not fragment": tcp(flags="DF", id=77),
    "port 1": tcp(sport=1),
}
LOCALLY_UDP = {
    "udp": udp(payload=b"hello"),
    "udp empty": udp(),
    "udp odd": udp(payload=b"abc"),
    "udp without checksum": udp(payload=b"hello", check=0),
    "udp whose checksum becomes zero": mangled_to_zero(),
}


@pytest.mark.parametrize("name", LOCALLY)
def test_tcp_to_a_local_backend(wire: Wire, name: str) -> None:
    sent = LOCALLY[name]
    check(wire, frame(sent, wire.mac), Verdict.PASS, "local", frame(translated(sent), wire.mac))


@pytest.mark.parametrize("name", LOCALLY_UDP)
def test_udp_to_a_local_backend(wire: Wire, name: str) -> None:
    sent = LOCALLY_UDP[name]
    expected = translated(sent, UDP_LOCAL.port)
    check(wire, frame(sent, wire.mac), Verdict.PASS, "local", frame(expected, wire.mac))


def test_the_zero_checksum_case_is_one(wire: Wire) -> None:
    assert raw(translated(mangled_to_zero(), UDP_LOCAL.port)).getlayer("UDP").chksum == 0xFFFF


def test_padding_behind_the_packet_stays(wire: Wire) -> None:
    padding = bytes(18)
    sent, expected = frame(udp(), wire.mac) + padding, frame(translated(udp(), UDP_LOCAL.port), wire.mac) + padding
    check(wire, sent, Verdict.PASS, "local", expected)


REMOTELY = {
    "tcp": tcp(81),
    "payload": tcp(81, payload=b"x" * 333),
    "udp": udp(54, payload=b"hello"),
    "udp without checksum": udp(54, payload=b"hello", check=0),
    "dscp and ecn go to the outer header": tcp(81, tos=0xB9),
    "ttl 2": tcp(81, ttl=2),
    "ttl 255": tcp(81, ttl=255),
    "just the mtu": tcp(81, payload=bytes(1480 - 40)),
}


@pytest.mark.parametrize("name", REMOTELY)
def test_to_a_remote_backend(wire: Wire, name: str) -> None:
    sent = REMOTELY[name]
    expected = bytes(Ether(src=wire.mac.hex(":"), dst=wire.router.hex(":"), type=0x0800) / encapsulated(sent))
    check(wire, frame(sent, wire.mac), Verdict.TX, "remote_tx", expected)


def cut(packet: Any, length: int) -> Callable[[bytes], bytes]:
    return lambda mac: frame(packet, mac)[:length]


def whole(packet: Any) -> Callable[[bytes], bytes]:
    return lambda mac: frame(packet, mac)


def ether(kind: int, rest: Any) -> Callable[[bytes], bytes]:
    return lambda mac: bytes(Ether(src=SENDER, dst=mac.hex(":"), type=kind) / rest)


DROPPED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "port not served": ("no_service", whole(tcp(8080))),
    "udp where tcp is served": ("no_service", whole(udp(80))),
    "tcp where udp is served": ("no_service", whole(tcp(53))),
    "port 0": ("no_service", whole(tcp(0))),
    "no backends": ("no_backend", whole(tcp(82))),
    "ping": ("not_tcp_udp", whole(IP(src=str(CLIENT), dst=str(VIP)) / ICMP())),
    "sctp": ("not_tcp_udp", whole(IP(src=str(CLIENT), dst=str(VIP), proto=132) / bytes(20))),
    "ipip to the vip": ("not_tcp_udp", whole(ipip(tcp(), dst=VIP))),
    "options": ("ip_options", whole(tcp(options=b"\x94\x04\x00\x00"))),
    "first fragment": ("fragment", whole(tcp(flags="MF"))),
    "middle fragment": ("fragment", whole(tcp(flags="MF", frag=100))),
    "last fragment": ("fragment", whole(tcp(frag=100))),
    "last fragment of udp": ("fragment", whole(udp(frag=1))),
    "no transport header": ("truncated", cut(tcp(), 34)),
    "half of the ports": ("truncated", cut(tcp(), 37)),
    "ports only": ("truncated", cut(tcp(), 38)),
    "tcp one byte short": ("truncated", cut(tcp(), 53)),
    "udp one byte short": ("truncated", cut(udp(), 41)),
    "payload one byte short": ("truncated", cut(tcp(payload=b"abc"), 56)),
    "total length without the header": ("truncated", whole(tcp(len=19))),
    "total length without the transport header": ("truncated", whole(tcp(len=39))),
    "total length beyond the packet": ("truncated", whole(tcp(len=41))),
    "total length 0": ("truncated", whole(tcp(len=0))),
    "header length below 5": ("truncated", whole(tcp(ihl=4))),
    "to a remote backend with ttl 1": ("ttl", whole(tcp(81, ttl=1))),
    "to a remote backend with ttl 0": ("ttl", whole(tcp(81, ttl=0))),
    "one byte over the mtu": ("too_big", whole(tcp(81, payload=bytes(1481 - 40)))),
    "flooded, for another host": ("other_host", lambda _: frame(tcp(81), bytes.fromhex("020000000042"))),
    "flooded, broadcast": ("other_host", lambda _: frame(tcp(81), b"\xff" * 6)),
}


@pytest.mark.parametrize("name", DROPPED)
def test_dropped(wire: Wire, name: str) -> None:
    reason, make = DROPPED[name]
    check(wire, make(wire.mac), Verdict.DROP, reason, b"")


SHORT = raw(tcp(payload=b"abcdef"))
UNTOUCHED: dict[str, Callable[[bytes], bytes]] = {
    "ethernet only": cut(tcp(), 14),
    "one byte of ip": cut(tcp(), 15),
    "ip one byte short": cut(tcp(), 33),
    "another address": whole(tcp(dst="203.0.113.11")),
    "another address, fragment": whole(tcp(dst="203.0.113.11", frag=100)),
    "another address, options": whole(tcp(dst="203.0.113.11", options=b"\x94\x04\x00\x00")),
    "another address, truncated": cut(tcp(dst="203.0.113.11"), 40),
    "from the vip": whole(IP(src=str(VIP), dst=str(CLIENT)) / TCP()),
    "the backend itself": whole(tcp(8080, dst=LOCAL.address)),
    "arp": ether(0x0806, ARP(pdst=str(VIP))),
    "ipv6": ether(0x86DD, IPv6(dst="2001:db8::1") / TCP(dport=80)),
    "vlan": ether(0x8100, Dot1Q(vlan=5, type=0x0800) / tcp()),
    "ipv4 type, version 6": whole(tcp(version=6)),
    "ipip to another address": whole(ipip(tcp(), dst="10.244.1.99")),
    "ipip for another vip": whole(ipip(tcp(dst="203.0.113.11"))),
    "ipip for another port": whole(ipip(tcp(8080))),
    "ipip for a remote backend's port": whole(ipip(tcp(81))),
    "ipip for another protocol": whole(ipip(udp(80))),
    "ipip with inner fragment": whole(ipip(raw(tcp(flags="MF")))),
    "ipip with inner options": whole(ipip(raw(tcp(options=b"\x94\x04\x00\x00")))),
    "ipip with inner ping": whole(ipip(IP(dst=str(VIP)) / ICMP())),
    "ipip in ipip": whole(ipip(ipip(tcp()))),
    "ipip with inner ipv6": whole(ipip(IPv6(dst="2001:db8::1") / TCP(dport=80))),
    "ipip, outer fragment": whole(ipip(raw(tcp()), flags="MF")),
    "ipip, outer options": whole(ipip(raw(tcp()), options=b"\x94\x04\x00\x00")),
    "ipip, outer length too short": whole(ipip(SHORT, len=20 + 45)),
    "ipip without inner header": cut(ipip(raw(tcp())), 34),
    "ipip, inner header one byte short": cut(ipip(raw(tcp())), 53),
    "ipip, inner transport one byte short": cut(ipip(raw(tcp())), 73),
    "ipip, inner payload one byte short": cut(ipip(SHORT), 79),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_not_ours_passes_untouched(wire: Wire, name: str) -> None:
    sent = UNTOUCHED[name](wire.mac)
    check(wire, sent, Verdict.PASS, "not_ours", sent)


@pytest.mark.parametrize("inner", [tcp(), tcp(payload=b"abc", ttl=1), tcp(tos=0xB9)], ids=["syn", "ttl 1", "tos"])
def test_ipip_for_a_local_backend_is_taken_out(wire: Wire, inner: Any) -> None:
    expected = frame(translated(raw(inner)), wire.mac)
    check(wire, frame(ipip(raw(inner)), wire.mac), Verdict.PASS, "decapsulated", expected)


@pytest.mark.parametrize("check_sum", [None, 0], ids=["checksum", "no checksum"])
def test_ipip_with_udp_for_a_local_backend(wire: Wire, check_sum: int | None) -> None:
    inner = raw(udp(payload=b"hello", check=check_sum))
    expected = frame(translated(inner, UDP_LOCAL.port), wire.mac)
    check(wire, frame(ipip(inner), wire.mac), Verdict.PASS, "decapsulated", expected)


def test_every_checksum_there_can_be(wire: Wire) -> None:
    """All 65,536 sums of the header and of the datagram, by the lower half of the source address."""
    expected = packet.Flow(CLIENT, 40000, IPv4Address("10.244.1.10"), UDP_LOCAL.port, Protocol.UDP)
    for word in range(1 << 16):
        source = IPv4Address(0xC6330000 + word)
        sent = packet.build(packet.Flow(source, 40000, VIP, 53, Protocol.UDP), wire.mac)
        after = packet.parse(shim.run_xdp(wire.prog, wire.ifindex, sent, PROBE)[2])
        assert after is not None
        assert after.sound, source
        assert after.flow == expected._replace(source=source)


def test_what_one_node_encapsulates_another_takes(wire: Wire) -> None:
    """The inner packet of our own output, sent to a node where the backend is local."""
    inner = raw(encapsulated(tcp())).getlayer(IP, 2)
    sent = frame(ipip(inner), wire.mac)
    check(wire, sent, Verdict.PASS, "decapsulated", frame(translated(inner), wire.mac))


def test_only_a_real_packet_leaves_a_reply_entry(wire: Wire) -> None:
    replies = wire.datapath._loaded.maps.replies
    for key in replies.dump():
        replies.remove(key)
    sent = frame(tcp(sport=41000), wire.mac)
    probe.run(wire.prog, wire.ifindex, sent)
    assert not replies.dump()
    shim.run_xdp(wire.prog, wire.ifindex, sent, b"")
    key = LOCAL.address.packed + CLIENT.packed + (8080).to_bytes(2, "big") + (41000).to_bytes(2, "big") + b"\6\0\0\0"
    assert replies.dump() == {key: VIP.packed + (80).to_bytes(2, "big") + bytes(2)}


def test_metadata_without_the_mark_is_a_packet_like_any_other(wire: Wire) -> None:
    before = wire.datapath.counters()
    sent = frame(tcp(), wire.mac)
    _, meta, _ = shim.run_xdp(wire.prog, wire.ifindex, sent, b"\1" * 16)
    assert meta == b"\1" * 16
    assert moved(wire, before) == {"local": 1}


def test_the_program_and_python_choose_the_same_backend(wire: Wire) -> None:
    """Over all backends and many flows; the row is read as the program reads it."""
    backends = [Backend(LOCAL.address + i, 8080, True) for i in range(7)]
    wanted = frontend(*backends, port=8443)
    done(program(wire.datapath, wanted))
    maps = wire.datapath._loaded.maps
    held = readback.read_one(maps, wanted.key)
    assert held is not None
    row = maps.rows.words[held.offset : held.offset + held.length]
    seen = set()
    for port in range(1024, 3072):
        source = CLIENT + port % 97
        expected = row[flow.slot(flow.flow_hash(source, port, VIP, 8443, 6), held.length)]
        sent = packet.build(packet.Flow(source, port, VIP, 8443, Protocol.TCP), wire.mac)
        assert probe.run(wire.prog, wire.ifindex, sent).backend == expected
        seen.add(expected)
    assert len(seen) == 7


def test_every_reason_of_the_ingress_program_is_known_to_these_tests(wire: Wire) -> None:
    here = {reason for reason, _ in DROPPED.values()} | {"not_ours", "local", "remote_tx", "decapsulated"}
    conditions = {"remote_redirect", "no_route", "no_neighbour", "forwarding_off", "bad_row"}  # test_conditions
    conditions |= {"unassigned"}  # test_guard
    elsewhere = {"reply", "reply_fragment", "reply_error"}  # test_egress
    never_seen = {"no_headroom", "no_reply_entry"}  # the kernel would have to fail
    assert here | conditions | elsewhere | never_seen == {str(reason) for reason in PacketReason}
