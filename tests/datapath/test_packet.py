"""Synthetic packets against scapy, which knows the formats independently of us."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP

from announcer.model.net import Protocol
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
