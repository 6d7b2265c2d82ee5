"""Pins that somebody takes away or puts something else in the place of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from announcer.model.steps import AttachDevices
from datapath import shim
from datapath.hand import Datapath
from tests.datapath.node import Node, done, observe

pytestmark = pytest.mark.root

MAP = "lb_frontends"


def _other_map(datapath: Datapath, path: Path) -> None:
    """Another one takes its name, as after an update of somebody else's."""
    other = path.with_name("other")
    shim.pin(datapath._loaded.maps.vips._fd, other)
    other.replace(path)


DAMAGE: dict[str, Callable[[Datapath, Path], object]] = {
    "deleted": lambda _, path: path.unlink(),
    "another in its place": _other_map,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_pin_that_is_not_ours_any_more_is_seen_and_mended(node: Node, what: str) -> None:
    datapath = node.attached()
    path = node.bpffs / "maps" / MAP
    for _ in range(2):
        assert observe(datapath).attached
        DAMAGE[what](datapath, path)
        seen = observe(datapath)
        assert all(device.unpinned for device in seen.devices.values()), seen
        assert str(path) in next(iter(seen.devices.values())).problem
        done(datapath.apply(AttachDevices(lane="devices")))
    assert observe(datapath).attached
