"""What an agent does about its memory, once."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from announcer.run.memory import expect_many_objects, settle


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_what_the_modules_hold_is_looked_over_no_more() -> None:
    gc.unfreeze()
    usual = gc.get_threshold()
    expect_many_objects()
    assert gc.get_threshold() > usual
    assert gc.get_freeze_count() > 1000


def test_what_the_start_brings_is_looked_over_no_more_and_goes_all_the_same() -> None:
    kept = [[number] for number in range(1000)]
    gc.unfreeze()
    before = len(gc.get_objects())
    settle()
    assert len(gc.get_objects()) < before - len(kept)
    frozen = gc.get_freeze_count()
    kept.clear()
    assert gc.get_freeze_count() <= frozen - 1000
