"""Maglev rows. Thresholds: measured figures for this construction, with a little room."""

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
backend_sets = st.lists(addresses, min_size=1, max_size=12, unique=True).map(
    lambda chosen: [Backend(address, 8080) for address in chosen]
)


def some(count: int) -> list[Backend]:
    return [Backend(IPv4Address(0x0A000000 + 7 * i), 8080) for i in range(count)]


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
    assert max(share.values()) - min(share.values()) <= 1


@pytest.mark.parametrize("count", [1, 10, 11, 40, 41, 163, 164, 655, 656])
def test_the_row_is_long_enough(count: int) -> None:
    length = maglev.row_length(count)
    assert length in maglev.LADDER
    assert length >= count * 100 or length == maglev.LADDER[-1]
    smaller = [step for step in maglev.LADDER if step < length]
    assert all(step < count * 100 for step in smaller)


def test_no_backends_no_row() -> None:
    assert maglev.row_length(0) == 0
    assert not maglev.owners([])


def test_more_backends_than_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="65522 backends"):
        maglev.row_length(65522)


@pytest.mark.parametrize("length", maglev.LADDER)
def test_the_ladder_is_made_of_primes(length: int) -> None:
    assert all(length % divisor for divisor in range(2, int(length**0.5) + 1))


@pytest.mark.parametrize(
    ("length", "count", "most"),
    [
        (1021, 3, 0.006),
        (1021, 10, 0.032),
        (4093, 10, 0.015),
        (16381, 3, 0.001),
        (16381, 10, 0.0075),
        (16381, 100, 0.016),
        (65521, 3, 0.0005),
        (65521, 10, 0.0035),
        (65521, 100, 0.007),
    ],
)
def test_removing_one_moves_few_slots_of_the_others(length: int, count: int, most: float) -> None:
    names = sorted(f"{backend.address}:{backend.port}" for backend in some(count))
    before = maglev._table(tuple(names), length)
    moved = []
    for gone in names[:10]:
        rest = [name for name in names if name != gone]
        after = maglev._table(tuple(rest), length)
        kept = [(names[old], rest[new]) for old, new in zip(before, after, strict=True) if names[old] != gone]
        moved.append(sum(old != new for old, new in kept) / len(kept))
    assert sum(moved) / len(moved) <= most


def test_adding_one_takes_little_more_than_its_share() -> None:
    backends = some(10)
    before, after = by_slot(backends[:9]), by_slot(backends)
    moved = sum(old != new for old, new in zip(before, after, strict=True)) / len(before)
    assert 1 / 10 <= moved <= 1 / 10 + 0.04


def test_a_given_row_never_changes() -> None:
    """Nodes of different versions have to agree: a change here breaks flows during an upgrade."""
    assert zlib.crc32(maglev.owners(some(3)).tobytes()) == 587711776
