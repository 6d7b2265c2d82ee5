"""Which program runs: the pinned one, or the one that was just loaded.

A pinned program is kept if it is the same (the kernel's tag of its instructions) on the same maps. A different one is
replaced by link update, and in filters of tc in place, so that no packet meets a device without a program; if any of
them refuses, all go back to the old.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from announcer.model.errors import TargetError
from datapath import shim
from datapath.bpffs import Folder, pin_over
from datapath.tc import Tc

INGRESS, EGRESS = "lb_ingress", "lb_egress"
#: Not attached to anything, so they need no settling: every agent runs its own.
SNAT_SWEEP, SUM = "lb_snat_sweep", "lb_sum"
#: Which program a pinned link carries, by the beginning of its name.
_PROGRAM_OF_LINK = {"xdp": INGRESS, "tcx": EGRESS}
#: Gives a program (descriptor) to a link or a filter.
_Put = Callable[[int], None]


class Program(NamedTuple):
    """A loaded program; ``fd`` is ours."""

    fd: int
    id: int


def settle(folder: Folder, tc: Tc, handle: Any, name: str) -> Program:
    """The pinned program if the loaded one is no other, else the loaded one, pinned and on every device of ours."""
    fresh = shim.prog_fd(handle, name)
    fresh_info = shim.prog_info(fresh)
    path = folder.progs / name
    pinned = shim.get(path)
    try:
        if pinned is not None:
            info = shim.prog_info(pinned)
            if (info.tag, info.maps) == (fresh_info.tag, fresh_info.maps):
                os.close(fresh)
                _bring(folder, tc, name, Program(pinned, info.id), old=None)
                kept, pinned = pinned, None
                return Program(kept, info.id)
        _bring(folder, tc, name, Program(fresh, fresh_info.id), old=pinned)
        pin_over(fresh, path)
        return Program(fresh, fresh_info.id)
    finally:
        if pinned is not None:
            os.close(pinned)


def _bring(folder: Folder, tc: Tc, name: str, program: Program, old: int | None) -> None:
    """Bring everything that carries this program to ``program``; what carries it already is left alone."""
    changed: list[_Put] = []
    with contextlib.ExitStack() as opened:
        links = [(kind, fd, shim.link_info(fd)) for kind, fd in _pinned_links(folder, opened)]
        puts: list[_Put] = [
            functools.partial(shim.link_update, fd)
            for kind, fd, info in links
            if _PROGRAM_OF_LINK.get(kind) == name and info.ifindex and info.prog_id != program.id
        ]
        devices = {info.ifindex for kind, _, info in links if kind == "xdp" and info.ifindex}
        if name == EGRESS:
            puts += _filters(tc, devices, program.id)
        try:
            for put in puts:
                put(program.fd)
                changed.append(put)
        except TargetError:
            if old is not None:
                for put in changed:
                    with contextlib.suppress(TargetError):  # the first trouble is the one to tell
                        put(old)
            raise


def _pinned_links(folder: Folder, opened: contextlib.ExitStack) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.links.iterdir()):
        fd = shim.get(path)
        if fd is not None:
            opened.callback(os.close, fd)
            yield path.name.partition("-")[0], fd


def _filters(tc: Tc, devices: set[int], prog_id: int) -> list[_Put]:
    """A device with our XDP link is ours, and so is the filter of our name that is on it."""
    found = {ifindex: tc.filter(ifindex) for ifindex in sorted(devices)}
    return [functools.partial(tc.put, ifindex) for ifindex, each in found.items() if each and each.prog_id != prog_id]
