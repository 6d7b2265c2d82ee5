"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster, cluster


@pytest.fixture
def running() -> Iterator[Cluster]:
    """A lab of its own, with BIRD, for a test that changes things: both agents run and the VIP is announced."""
    with cluster() as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """The same for all tests of a module that only look."""
    with cluster() as made:
        made.start()
        yield made
