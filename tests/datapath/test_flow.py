"""The flow hash in Python; that the program computes the same is in test_ingress."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

import pytest

from datapath.flow import flow_hash, slot

CLIENT, VIP = IPv4Address("198.51.100.10"), IPv4Address("203.0.113.10")


def chi_square(hashes: list[int], slots: int) -> float:
    counts = Counter(slot(value, slots) for value in hashes)
    expected = len(hashes) / slots
    return sum((counts[i] - expected) ** 2 for i in range(slots)) / expected


@pytest.mark.parametrize(
    "hashes",
    [
        [flow_hash(CLIENT, port, VIP, 80, 6) for port in range(1024, 65536)],
        [flow_hash(IPv4Address(0xC6336400 + i), 40000, VIP, 80, 6) for i in range(64512)],
        [flow_hash(IPv4Address(0xC6336400 + (i << 8)), 40000, VIP, 80, 17) for i in range(64512)],
    ],
    ids=["ports", "neighbouring clients", "clients of different networks"],
)
def test_flows_spread_evenly(hashes: list[int]) -> None:
    # 1020 degrees of freedom: mean 1020, standard deviation 45.
    assert 1020 - 5 * 45 < chi_square(hashes, 1021) < 1020 + 5 * 45


def test_every_part_of_the_five_tuple_counts() -> None:
    flows = {
        flow_hash(CLIENT, 40000, VIP, 80, 6),
        flow_hash(CLIENT + 1, 40000, VIP, 80, 6),
        flow_hash(CLIENT, 40001, VIP, 80, 6),
        flow_hash(CLIENT, 40000, VIP + 1, 80, 6),
        flow_hash(CLIENT, 40000, VIP, 81, 6),
        flow_hash(CLIENT, 40000, VIP, 80, 17),
    }
    assert len(flows) == 6


def test_a_slot_is_within_the_row() -> None:
    assert slot(0, 1021) == 0
    assert slot(0xFFFFFFFF, 1021) == 1020
