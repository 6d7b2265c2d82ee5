"""Fixtures: the built objects, a node in a namespace of its own, and its datapath."""

from __future__ import annotations

import errno
import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from announcer.model.errors import TargetError
from announcer.model.lb import Hook
from datapath import shim
from tests.datapath.cluster import Cluster, running
from tests.datapath.netns import Names, entered, sweep
from tests.datapath.node import Node, observe

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


#: Ingress hook, and whether egress is to be by tcx: None as the kernel can.
ATTACHED = {"native": (Hook.XDP_NATIVE, None), "generic": (Hook.XDP_GENERIC, None), "filter": (Hook.XDP_NATIVE, False)}


@pytest.fixture(params=ATTACHED)
def cluster(
    request: pytest.FixtureRequest, names: Names, built: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """Two nodes with their datapaths attached, in every way in which they can be."""
    hook, tcx = ATTACHED[request.param]
    if hook is Hook.XDP_GENERIC:
        monkeypatch.setattr(shim, "attach_xdp", _without_native(shim.attach_xdp))
    with running(Cluster(names, tcx)) as made:
        for i in range(2):
            with made.at(i):
                assert observe(made.datapaths[i]).devices["eth0"].hook is hook
        yield made


def _without_native(real: object) -> object:
    def attach(prog: int, ifindex: int, *, generic: bool) -> int:
        if not generic:
            raise TargetError("bpf_link_create", errno=errno.EOPNOTSUPP)
        return real(prog, ifindex, generic=True)  # type: ignore[operator,no-any-return]

    return attach
