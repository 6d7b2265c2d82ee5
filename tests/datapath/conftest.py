"""Fixtures: the built objects, a node in a namespace of its own, and its datapath."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datapath.netns import Names, entered, sweep
from tests.datapath.node import Node

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def built() -> None:
    """The BPF object and the shim; workers that start together do not build together."""
    with open(ROOT / "datapath" / "Makefile", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "-C", str(ROOT / "datapath")], check=True)


@pytest.fixture(scope="session")
def _swept() -> None:
    sweep()


@pytest.fixture
def names(_swept: None) -> Iterator[Names]:
    mine = Names()
    try:
        yield mine
    finally:
        mine.remove()


@pytest.fixture
def node(names: Names, built: None) -> Iterator[Node]:
    """A node with an uplink to a router; the test runs inside its namespace."""
    made = Node(names)
    with entered(made.netns):
        try:
            yield made
        finally:
            made.close()
