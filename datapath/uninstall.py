"""Taking away all that is ours. Nothing is loaded for it, so it also removes what another version left."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from datapath import shim
from datapath.bpffs import Folder
from datapath.rtnl import Rtnl
from datapath.tc import Tc


def uninstall(bpffs: Path) -> None:
    """Remove attachments, pins and neighbours; a mounted bpffs stays mounted. Where there is nothing, nothing is done.

    Raises ``TargetError``: an agent is running on this folder (``retry`` True), or the kernel refused.
    """
    with contextlib.ExitStack() as closing:
        rtnl, tc = Rtnl(), Tc()
        closing.callback(rtnl.close)
        closing.callback(tc.close)
        if bpffs.is_dir() and shim.is_bpffs(bpffs):
            folder = Folder(bpffs)
            closing.callback(folder.close)
            for path in sorted(folder.links.iterdir()):
                _detach(path)
            folder.remove()
        _remove_filters(rtnl, tc)
        table = rtnl.neighbours()
        for ifindex, address in table.ours | table.unmanaged:
            rtnl.remove_neighbour(ifindex, address)
    with contextlib.suppress(OSError):  # a mount, or something else is in it
        bpffs.rmdir()


def _detach(path: Path) -> None:
    """Not by removing the pin alone: somebody else may hold the link open."""
    fd = shim.get(path)
    if fd is not None:
        try:
            shim.link_detach(fd)
        finally:
            os.close(fd)


def _remove_filters(rtnl: Rtnl, tc: Tc) -> None:
    """Filters are not pinned, so every device is asked, also where the links are long gone.

    Ours has been taken off by now: beside another XDP program, the filter belongs to a Lockstep on another folder.
    """
    for ifindex, _ in socket.if_nameindex():
        if tc.filter(ifindex):
            link = rtnl.link(ifindex)
            if link and not link.xdp_prog:
                tc.remove(ifindex)
