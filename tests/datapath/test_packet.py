"""Synthetic packets against scapy, which knows the formats independently of us."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP

from announcer.model.net import IPAddress, Protocol
from datapath import packet

MAC = bytes.fromhex("020000000001")
LAYERS = {Protocol.TCP: TCP, Protocol.UDP: UDP, Protocol.SCTP: SCTP}


def flows_of(version: int) -> st.SearchStrategy[packet.Flow]:
    addresses, ports = st.ip_addresses(v=4 if version == 4 else 6), st.integers(0, 65535)
    return st.builds(packet.Flow, addresses, ports, addresses, ports, st.sampled_from(list(Protocol)))


flows = flows_of(4) | flows_of(6)


@given(flows)
def test_what_is_built_is_right_and_comes_back(flow: packet.Flow) -> None:
    frame = packet.build(flow, MAC)
    fresh = Ether(frame)
    if flow.dest.version == 4:
        del fresh[IP].chksum, fresh[IP].len
    else:
        del fresh[IPv6].plen
    del fresh[LAYERS[flow.protocol]].chksum
    assert bytes(fresh) == frame
    assert packet.parse(frame) == packet.Parsed(flow, None, 64, sound=True)


@given(flows_of(4), st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_an_outer_header_is_understood(flow: packet.Flow, source: IPv4Address, dest: IPv4Address) -> None:
    inner = packet.build(flow, MAC)
    frame = bytes(Ether(inner[:14]) / IP(src=str(source), dst=str(dest), proto=4) / inner[14:])
    assert packet.parse(frame) == packet.Parsed(flow, packet.Outer(source, dest), 64, sound=True)


@given(flows_of(6), st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_an_outer_header_of_ipv6_is_understood(flow: packet.Flow, source: IPv6Address, dest: IPv6Address) -> None:
    inner = packet.build(flow, MAC)
    frame = bytes(Ether(inner[:14]) / IPv6(src=str(source), dst=str(dest), nh=41) / inner[14:])
    assert packet.parse(frame) == packet.Parsed(flow, packet.Outer(source, dest), 64, sound=True)


def in_geneve(flow: packet.Flow, outer: Any, backend: IPAddress, **fields: Any) -> bytes:
    """As a node sends it, but for what ``fields`` say of Geneve."""
    inner = packet.build(flow, MAC)
    named = GeneveOptions(classid=0xFF4C, type=0x81, data=backend.packed)
    kind = int.from_bytes(inner[12:14], "big")
    header = {"vni": 0x4C6B50, "critical": 1, "proto": kind, "options": [named], **fields}
    return bytes(Ether(inner[:14]) / outer / UDP(sport=50000, dport=6081, chksum=0) / GENEVE(**header) / inner[14:])


@given(flows_of(4), st.ip_addresses(v=4), st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_geneve_is_understood(flow: packet.Flow, source: IPv4Address, dest: IPv4Address, backend: IPv4Address) -> None:
    frame = in_geneve(flow, IP(src=str(source), dst=str(dest)), backend)
    assert packet.parse(frame) == packet.Parsed(flow, packet.Outer(source, dest, backend), 64, sound=True)


@given(flows_of(6), st.ip_addresses(v=6), st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_geneve_of_ipv6_is_understood(
    flow: packet.Flow, source: IPv6Address, dest: IPv6Address, backend: IPv6Address
) -> None:
    frame = in_geneve(flow, IPv6(src=str(source), dst=str(dest)), backend)
    assert packet.parse(frame) == packet.Parsed(flow, packet.Outer(source, dest, backend), 64, sound=True)


@pytest.mark.parametrize(
    "fields", [{"vni": 7}, {"critical": 0}, {"oam": 1}, {"proto": 0x6558}, {"options": []}, {"optionlen": 3}]
)
def test_geneve_of_others_is_udp(fields: dict[str, Any]) -> None:
    source, dest = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    flow = packet.Flow(source, 1, dest, 2, Protocol.TCP)
    parsed = packet.parse(in_geneve(flow, IP(src=str(source), dst=str(dest)), dest, **fields))
    assert parsed is not None
    assert (parsed.outer, parsed.flow) == (None, packet.Flow(source, 50000, dest, 6081, Protocol.UDP))


@given(flows_of(4), st.data())
def test_a_changed_bit_is_not_sound(flow: packet.Flow, data: st.DataObject) -> None:
    frame = bytearray(packet.build(flow, MAC))
    # Not version and header length, protocol: then it is no longer a packet of this kind.
    at = data.draw(st.integers(16, len(frame) - 1).filter(lambda i: i != 23))
    frame[at] ^= 1 << data.draw(st.integers(0, 7))
    parsed = packet.parse(bytes(frame))
    assert parsed is None or not parsed.sound


@given(flows_of(6), st.data())
def test_a_changed_bit_of_ipv6_is_not_sound(flow: packet.Flow, data: st.DataObject) -> None:
    """From the addresses on: what is before them no checksum covers. SCTP's does not cover the addresses."""
    frame = bytearray(packet.build(flow, MAC))
    at = data.draw(st.integers(54 if flow.protocol is Protocol.SCTP else 22, len(frame) - 1))
    frame[at] ^= 1 << data.draw(st.integers(0, 7))
    parsed = packet.parse(bytes(frame))
    assert parsed is None or not parsed.sound


@pytest.mark.parametrize("length", range(42))
def test_a_short_frame_is_nothing(length: int) -> None:
    flow = packet.Flow(IPv4Address(1), 1, IPv4Address(2), 2, Protocol.UDP)
    assert packet.parse(packet.build(flow, MAC)[:length]) is None


@given(
    flows.filter(lambda flow: flow.protocol is not Protocol.SCTP),
    st.lists(st.integers(0, 65535), max_size=9),
    st.lists(st.integers(1, 4094), max_size=2),
)
def test_a_varied_frame_is_the_one_that_would_be_built(flow: packet.Flow, ports: list[int], tags: list[int]) -> None:
    assert packet.can_vary(flow)
    built = [packet.build(flow._replace(source_port=port), MAC, tags) for port in ports]
    assert list(packet.varied(flow, ports, MAC, tags)) == built


@given(st.lists(flows_of(4) | flows_of(6), min_size=1, max_size=4), st.data())
def test_many_frames_are_those_that_would_be_built(given: list[packet.Flow], data: st.DataObject) -> None:
    of_one = [given[0]._replace(source_port=data.draw(st.integers(0, 65535))) for _ in range(3)]
    assert packet.same_client(of_one)
    for sent in (given, of_one, []):
        assert packet.build_all(sent, MAC) == [packet.build(each, MAC) for each in sent]
        later = [
            packet.parse(MAC + MAC + packet.build(each, MAC)[12:14] + inner)
            for each, inner in zip(sent, packet.forwarded(sent), strict=True)
        ]
        assert later == [packet.Parsed(each, None, 63, sound=True) for each in sent]


def test_flows_that_differ_in_more_than_the_port_are_not_of_one_client() -> None:
    flow = packet.Flow(IPv4Address("192.0.2.1"), 1, IPv4Address("192.0.2.2"), 2, Protocol.TCP)
    assert packet.same_client([flow, flow._replace(source_port=3)])
    others = [flow._replace(source=flow.dest), flow._replace(dest=flow.source), flow._replace(dest_port=3)]
    for other in [*others, flow._replace(protocol=Protocol.UDP)]:
        assert not packet.same_client([flow, other])


def tunnelled(flow: packet.Flow, dest: IPAddress) -> bytes:
    """As the program does it."""
    inner = packet.forwarded([flow])[0]
    if flow.dest.version == 4:
        return bytes(Ether(MAC + MAC + b"\x08\0") / IP(src="192.0.2.1", dst=str(dest), proto=4, flags="DF") / inner)
    return bytes(Ether(MAC + MAC + b"\x86\xdd") / IPv6(src="2001:db8::1", dst=str(dest), nh=41, fl=77) / inner)


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize(
    ("client", "vip", "dest"),
    [("192.0.2.1", "192.0.2.2", "10.0.0.4"), ("2001:db8::1", "2001:db8::2", "2001:db8:a::4")],
    ids=["IPv4", "IPv6"],
)
def test_what_is_known_of_a_tunnelled_packet_is_what_parsing_says(
    protocol: Protocol, client: str, vip: str, dest: str
) -> None:
    flow, backend = packet.Flow(ip_address(client), 1024, ip_address(vip), 80, protocol), ip_address(dest)
    inner, frame = packet.forwarded([flow])[0], tunnelled(flow, backend)
    assert packet.carries(frame, inner, backend)
    assert not packet.carries(frame, inner, backend + 1)
    assert not any(packet.carries(frame[:at] + inner, inner, backend) for at in range(len(frame) - len(inner)))
    for at in range(12, len(frame)):
        for bit in range(8):
            changed = frame[:at] + bytes([frame[at] ^ 1 << bit]) + frame[at + 1 :]
            if packet.carries(changed, inner, backend):
                parsed = packet.parse(changed)
                assert parsed is not None
                wanted = (flow, backend, True)
                assert (parsed.flow, parsed.outer and parsed.outer.dest, parsed.sound) == wanted, f"{at}: {bit}"


def test_a_checksum_of_nothing_is_said_by_udp_as_it_has_to_be() -> None:
    flow = packet.Flow(IPv4Address("192.0.2.1"), 0, IPv4Address("192.0.2.2"), 53, Protocol.UDP)
    sums = {frame[40:42] for frame in packet.varied(flow, range(65536), MAC)}
    assert b"\xff\xff" in sums
    assert b"\0\0" not in sums


def test_sctp_is_not_varied() -> None:
    flow = packet.Flow(IPv4Address("192.0.2.1"), 1, IPv4Address("192.0.2.2"), 2, Protocol.SCTP)
    assert not packet.can_vary(flow)
