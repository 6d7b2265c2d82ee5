"""The flow hash in Python; that the program computes the same is in test_ingress."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address

import pytest

from announcer.model.net import IPAddress
from datapath.flow import flow_hash, slot

CLIENT, VIP = IPv4Address("198.51.100.10"), IPv4Address("203.0.113.10")
CLIENT6, VIP6 = IPv6Address("2001:db8:c::10"), IPv6Address("2001:db8:f::10")
BITS = 10


def chi_square(hashes: list[int]) -> float:
    counts = Counter(slot(value, BITS) for value in hashes)
    expected = len(hashes) / (1 << BITS)
    return sum((counts[i] - expected) ** 2 for i in range(1 << BITS)) / expected


@pytest.mark.parametrize(
    "hashes",
    [
        [flow_hash(CLIENT, port, VIP, 80, 6) for port in range(1024, 65536)],
        [flow_hash(IPv4Address(0xC6336400 + i), 40000, VIP, 80, 6) for i in range(64512)],
        [flow_hash(IPv4Address(0xC6336400 + (i << 8)), 40000, VIP, 80, 17) for i in range(64512)],
        [flow_hash(CLIENT6, port, VIP6, 80, 6) for port in range(1024, 65536)],
        [flow_hash(CLIENT6 + i, 40000, VIP6, 80, 6) for i in range(64512)],
        [flow_hash(CLIENT6 + (i << 64), 40000, VIP6, 80, 6) for i in range(64512)],
        [flow_hash(CLIENT6 + (i << 64) + i, 0, VIP6, 80, 6) for i in range(64512)],
    ],
    ids=["ports", "neighbours", "networks", "IPv6 ports", "IPv6 neighbours", "IPv6 networks", "IPv6, both halves"],
)
def test_flows_spread_evenly(hashes: list[int]) -> None:
    # 1023 degrees of freedom: mean 1023, standard deviation 45.
    assert 1023 - 5 * 45 < chi_square(hashes) < 1023 + 5 * 45


@pytest.mark.parametrize(("client", "vip"), [(CLIENT, VIP), (CLIENT6, VIP6)], ids=["IPv4", "IPv6"])
def test_every_part_of_the_five_tuple_counts(client: IPAddress, vip: IPAddress) -> None:
    flows = {
        flow_hash(client, 40000, vip, 80, 6),
        flow_hash(client + 1, 40000, vip, 80, 6),
        flow_hash(client, 40001, vip, 80, 6),
        flow_hash(client, 40000, vip + 1, 80, 6),
        flow_hash(client, 40000, vip, 81, 6),
        flow_hash(client, 40000, vip, 80, 17),
    }
    assert len(flows) == 6


def test_a_slot_is_within_the_row() -> None:
    assert slot(0, 10) == 0
    assert slot(0xFFFFFFFF, 10) == 1023
    assert slot(0xFFFFFFFF, 0) == 0
