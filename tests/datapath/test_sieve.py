"""The first look of the ingress program: which packets pass by, and that none for a VIP ever does."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer.model.net import IPAddress
from announcer.model.steps import GuardAggregate
from datapath import abi, encode, probe, sieve
from datapath.abi import PacketReason
from datapath.hand import Datapath
from tests.datapath.fixtures.family import Family
from tests.datapath.frames import frame, ipip, tcp
from tests.datapath.node import (
    LOCAL,
    LOCAL6,
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

SERVED = frontend(LOCAL)
STRANGER = IPv4Address("198.51.100.77")


def bits(datapath: Datapath) -> int:
    """How many are set."""
    return int.from_bytes(datapath._loaded.maps.sieve.bytes[abi.SIEVE_AT :].tobytes(), "little").bit_count()


def damage(datapath: Datapath) -> None:
    """Clear all bits, as nobody should."""
    size = (1 << abi.SIEVE_BITS) // 8
    datapath._loaded.maps.sieve.bytes[abi.SIEVE_AT : abi.SIEVE_AT + size] = bytes(size)


def reason(node: Node, datapath: Datapath, dest: IPAddress = VIP) -> PacketReason:
    link = node.link()
    return probe.run(datapath._prog, link.ifindex, frame(tcp(dst=dest), link.address)).reason


@given(st.sets(st.integers(0, 0xFFFFFFFF), min_size=1000, max_size=1000))
@settings(max_examples=5)
def test_few_addresses_share_a_bit(numbers: set[int]) -> None:
    taken = {sieve.bit_of(encode.address_bytes(ip_address(number))) for number in numbers}
    assert max(taken) < 1 << abi.SIEVE_BITS
    assert len(taken) > 950


@pytest.mark.root
def test_a_packet_for_nobody_passes_by_and_one_for_a_vip_does_not(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, SERVED))
    proven(datapath, SERVED)
    damage(datapath)
    assert reason(node, datapath) is PacketReason.NOT_OURS, "control: it is the bit that decides"
    assert "went to another" in failed(verify(datapath, SERVED)), "the proof takes the same look"
    done(program(datapath, SERVED))
    proven(datapath, SERVED)
    damage(datapath)
    observe(datapath)
    proven(datapath, SERVED)
    assert reason(node, datapath, STRANGER) is PacketReason.NOT_OURS


@pytest.mark.root
def test_the_bits_are_those_of_the_vips(node: Node) -> None:
    datapath = node.attached()
    other, six = frontend(LOCAL, port=81), frontend(LOCAL6, vip=VIP6)
    for wanted in (SERVED, other, six):
        done(program(datapath, wanted))
    assert bits(datapath) == 2
    done(remove(datapath, SERVED.key))
    assert bits(datapath) == 2, "the VIP has another port"
    done(remove(datapath, other.key))
    assert bits(datapath) == 1
    datapath.close()
    again = node.datapath()
    assert bits(again) == 1
    proven(again, six)
    done(remove(again, six.key))
    assert bits(again) == 0


@pytest.mark.root
def test_a_vip_that_does_not_fit_leaves_no_bit(node: Node) -> None:
    datapath = node.attached()
    for number in range(SMALL.vips):
        done(program(datapath, frontend(LOCAL, vip=VIP + number)))
    assert "full" in failed(program(datapath, frontend(LOCAL, vip=VIP + SMALL.vips)))
    assert bits(datapath) == SMALL.vips


@pytest.mark.root
def test_two_vips_of_one_bit(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program cannot be told to hash otherwise, so only the bookkeeping is."""
    datapath = node.attached()
    monkeypatch.setattr(sieve, "bit_of", lambda _: 77)
    first, second = frontend(LOCAL), frontend(LOCAL, vip=VIP + 1)
    done(program(datapath, first))
    done(program(datapath, second))
    assert bits(datapath) == 1
    done(remove(datapath, first.key))
    assert bits(datapath) == 1
    done(remove(datapath, second.key))
    assert bits(datapath) == 0


@pytest.mark.root
def test_nothing_passes_by_a_sieve_that_was_never_filled(node: Node) -> None:
    """A new map beside old programs and VIPs, as in an upgrade."""
    datapath = node.attached()
    done(program(datapath, SERVED))
    proven(datapath, SERVED)
    damage(datapath)
    datapath._loaded.maps.sieve.words[1] = 0
    assert reason(node, datapath) is PacketReason.LOCAL


@pytest.mark.root
def test_guards_and_tunnels_are_looked_at_closely(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, SERVED))
    link = node.link()
    inner = frame(ipip(tcp(), dst=LOCAL.address), link.address)
    assert probe.run(datapath._prog, link.ifindex, inner).reason is PacketReason.DECAPSULATED
    assert reason(node, datapath, VIP + 1) is PacketReason.NOT_OURS
    done(datapath.apply(GuardAggregate(lane="guard", prefix=IPv4Network("203.0.113.0/28"))))
    assert reason(node, datapath, VIP + 1) is PacketReason.UNASSIGNED


@pytest.mark.root
def test_geneve_of_ours_is_looked_at_closely_and_no_other(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, SERVED))
    link, family = node.link(), Family(4)
    for vni, reason in ((0x4C6B50, PacketReason.DECAPSULATED), (7, PacketReason.NOT_OURS)):
        sent = frame(family.geneve(family.tcp(), vni=vni), link.address)
        assert probe.run(datapath._prog, link.ifindex, sent).reason is reason
