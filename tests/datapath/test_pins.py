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

MAP, LINK = "maps/lb_frontends", "links/xdp-{ifindex}"


def _other_map(datapath: Datapath, path: Path) -> None:
    """Another one takes its name, as after an update of somebody else's."""
    other = path.parent.parent / "maps" / "other"
    shim.pin(datapath._loaded.maps.vips._fd, other)
    other.replace(path)


DAMAGE: dict[str, Callable[[Datapath, Path], object]] = {
    "deleted": lambda _, path: path.unlink(),
    "another in its place": _other_map,
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("where", [MAP, LINK], ids=["map", "link"])
def test_a_pin_that_is_not_ours_any_more_is_seen_and_mended(node: Node, where: str, what: str) -> None:
    datapath = node.attached()
    path = node.bpffs / where.format(ifindex=node.link().ifindex)
    for _ in range(2):
        assert observe(datapath).attached
        DAMAGE[what](datapath, path)
        seen = observe(datapath)
        assert all(device.unpinned for device in seen.devices.values()), seen
        assert str(path) in next(iter(seen.devices.values())).problem
        done(datapath.apply(AttachDevices(lane="devices")))
    assert observe(datapath).attached


def test_the_kernel_is_asked_once_what_is_pinned(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    datapath = node.attached()
    assert observe(datapath).attached
    monkeypatch.setattr(shim, "get", lambda path: pytest.fail(f"what is {path} was asked again"))
    assert observe(datapath).attached
