"""Fixtures: a rig, with or without a speaker that is already there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bgpd.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Two namespaces and a running speaker without neighbors."""
    with Rig(tmp_path) as made:
        made.start_speaker()
        yield made
