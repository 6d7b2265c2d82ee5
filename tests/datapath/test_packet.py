"""Synthetic packets against scapy, which knows the formats independently of us."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from announcer.model.net import Protocol
from datapath import packet

MAC = bytes.fromhex("020000000001")
flows = st.builds(
    packet.Flow,
    st.ip_addresses(v=4),
    st.integers(0, 65535),
    st.ip_addresses(v=4),
    st.integers(0, 65535),
    st.sampled_from([Protocol.TCP, Protocol.UDP]),
)


@given(flows)
def test_what_is_built_is_right_and_comes_back(flow: packet.Flow) -> None:
    frame = packet.build(flow, MAC)
    fresh = Ether(frame)
    del fresh[IP].chksum, fresh[IP].len
    layer = TCP if flow.protocol is Protocol.TCP else UDP
    del fresh[layer].chksum
    assert bytes(fresh) == frame
    assert packet.parse(frame) == packet.Parsed(flow, None, 64, sound=True)


@given(flows, st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_an_outer_header_is_understood(flow: packet.Flow, source: IPv4Address, dest: IPv4Address) -> None:
    inner = packet.build(flow, MAC)
    frame = bytes(Ether(inner[:14]) / IP(src=str(source), dst=str(dest), proto=4) / inner[14:])
    assert packet.parse(frame) == packet.Parsed(flow, packet.Outer(source, dest), 64, sound=True)


@given(flows, st.data())
def test_a_changed_bit_is_not_sound(flow: packet.Flow, data: st.DataObject) -> None:
    frame = bytearray(packet.build(flow, MAC))
    # Not version and header length, protocol: then it is no longer a packet of this kind.
    at = data.draw(st.integers(16, len(frame) - 1).filter(lambda i: i != 23))
    frame[at] ^= 1 << data.draw(st.integers(0, 7))
    parsed = packet.parse(bytes(frame))
    assert parsed is None or not parsed.sound


@pytest.mark.parametrize("length", range(42))
def test_a_short_frame_is_nothing(length: int) -> None:
    flow = packet.Flow(IPv4Address(1), 1, IPv4Address(2), 2, Protocol.UDP)
    assert packet.parse(packet.build(flow, MAC)[:length]) is None
