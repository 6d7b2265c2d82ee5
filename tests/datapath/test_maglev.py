"""Rows. Thresholds: measured figures for this construction, with a little room."""

from __future__ import annotations

import zlib
from collections import Counter
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.lb import Backend
from datapath import maglev

addresses = st.integers(0x0A000000, 0x0AFFFFFF).map(IPv4Address)
backend_sets = st.lists(addresses, min_size=1, max_size=8, unique=True).map(
    lambda chosen: [Backend(address, 8080) for address in chosen]
)


def some(count: int, first: int = 0) -> list[Backend]:
    return [Backend(IPv4Address(0x0A000000 + first + 7 * i), 8080) for i in range(count)]


def by_slot(backends: list[Backend]) -> list[Backend]:
    return [backends[owner] for owner in maglev.owners(backends)]


@given(backend_sets, st.randoms(use_true_random=False))
def test_the_order_of_the_backends_does_not_matter(backends: list[Backend], random: object) -> None:
    shuffled = list(backends)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert by_slot(shuffled) == by_slot(backends)


@given(backend_sets)
def test_local_or_not_does_not_matter(backends: list[Backend]) -> None:
    seen_elsewhere = [Backend(backend.address, backend.port, True) for backend in backends]
    assert maglev.owners(seen_elsewhere) == maglev.owners(backends)


@given(backend_sets)
def test_every_backend_has_its_share(backends: list[Backend]) -> None:
    share = Counter(by_slot(backends))
    assert len(share) == len(backends)
    assert max(share.values()) <= 1.4 * min(share.values())


def test_shares_are_nearly_equal() -> None:
    """On average over many services: the largest share against the smallest."""
    for count, most in ((2, 1.03), (3, 1.05), (10, 1.13), (16, 1.2), (17, 1.01)):
        shares = [Counter(maglev.owners(some(count, 1000 * i))).values() for i in range(20)]
        assert sum(max(share) / min(share) for share in shares) / len(shares) <= most


def test_a_row_is_longer_for_more_backends() -> None:
    bits = [maglev.row_bits(count) for count in range(maglev.MAX_BACKENDS + 1)]
    assert bits == sorted(bits)
    assert bits[0] == 0
    assert sorted(set(bits[1:])) == [step for _, step in maglev.LADDER]
    assert all(1 << bits[count] >= 2 * count for count in range(2, maglev.MAX_BACKENDS + 1))


def test_no_backends_no_row() -> None:
    assert not maglev.owners([])


def test_more_backends_than_slots_can_name_are_refused() -> None:
    with pytest.raises(ValueError, match="32767 backends"):
        maglev.row_bits(32767)


@pytest.mark.parametrize(
    ("bits", "count", "most"),
    [
        (12, 2, 0.0),
        (12, 6, 0.0),
        (12, 10, 0.0),
        (12, 16, 0.0),
        (14, 18, 0.008),
        (14, 100, 0.015),
        (14, 200, 0.018),
        (16, 201, 0.008),
    ],
)
def test_removing_one_moves_few_slots_of_the_others(bits: int, count: int, most: float) -> None:
    """The promise: with 10 backends at least 99.4 % of flows survive without flow state. All do."""
    assert bits == maglev.row_bits(count)
    names = sorted(f"{backend.address}:{backend.port}" for backend in some(count))
    before = maglev._table(tuple(names), bits)
    moved = []
    for gone in names[:10]:
        rest = [name for name in names if name != gone]
        after = maglev._table(tuple(rest), bits)
        kept = [(names[old], rest[new]) for old, new in zip(before, after, strict=True) if names[old] != gone]
        moved.append(sum(old != new for old, new in kept) / len(kept))
    assert sum(moved) / len(moved) <= most


def test_adding_one_takes_its_share_and_nothing_else() -> None:
    backends = some(10)
    before, after = by_slot(backends[:9]), by_slot(backends)
    moved = sum(old != new for old, new in zip(before, after, strict=True)) / len(before)
    assert moved == Counter(after)[backends[9]] / len(after), "not one slot goes from one of the others to another"


def test_a_second_backend_takes_only_its_share() -> None:
    """One backend has a row of one slot; it was the owner of all."""
    assert maglev.row_bits(1) == 0
    assert list(maglev.owners(some(1))) == [0]


def test_a_given_row_never_changes() -> None:
    """Nodes of different versions have to agree: a change here breaks flows during an upgrade."""
    assert zlib.crc32(maglev.owners(some(3)).tobytes()) == 3795753673
    assert zlib.crc32(maglev.owners(some(17)).tobytes()) == 4092713497
