"""From the object file to programs and maps in the kernel, taking over what an earlier agent left pinned.

Pinned maps are used again if their layout is what this version declares, and refused otherwise before anything is
touched. Which program then runs, the pinned one or this version's, is the matter of :mod:`datapath.settle`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from announcer.model.errors import TargetError
from datapath import shim, shortcuts
from datapath.bpffs import Folder, Pins, pin_over
from datapath.limits import Limits
from datapath.maps import Maps
from datapath.settle import EGRESS, INGRESS, SNAT_SWEEP, SUM, Program, settle
from datapath.tc import Tc

OBJECT = shim.BUILD / "lb.bpf.o"


class Loaded:
    """Programs and maps, open and pinned. ``adopted``: the maps were there before, with whatever they hold.

    ``sweep``: the program that ends SNAT flows; ``adds``: that which adds up maps. They are ours alone, and not pinned.
    """

    def __init__(
        self,
        folder: Folder,
        map_fds: dict[str, int],
        programs: dict[str, Program],
        *,
        sweep: int,
        adds: int,
        adopted: bool,
    ) -> None:
        self._wanted = [(str(folder.maps / name), fd, "map", shim.map_info(fd).id) for name, fd in map_fds.items()]
        self._wanted += [(str(folder.progs / name), prog.fd, "prog", prog.id) for name, prog in programs.items()]
        self._pins = Pins()
        self.maps = Maps.of(map_fds, adds)
        self.programs = programs
        self.sweep = sweep
        self.adds = adds
        self.adopted = adopted

    def missing_pins(self) -> list[str]:
        """Pins that are gone or are something else now: what we hold would not survive us."""
        return [path for path, _, kind, number in self._wanted if not self._pins.holds(path, kind, number)]

    def restore_pins(self) -> None:
        """Pin again what lost its pin."""
        for path, fd, kind, number in self._wanted:
            if not self._pins.holds(path, kind, number):
                pin_over(fd, Path(path))

    def close(self) -> None:
        """Close all descriptors; what is pinned stays."""
        self.maps.close()
        os.close(self.sweep)
        os.close(self.adds)
        for program in self.programs.values():
            os.close(program.fd)


def load(folder: Folder, limits: Limits, tc: Tc, path: Path = OBJECT) -> Loaded:
    """Load or take over. Raises ``TargetError``; then everything is as it was before."""
    if not path.exists():
        raise TargetError(f"open {path}", detail="not built; run `make -C datapath`", retry=False)
    handle = shim.open_object(path)
    pinned: dict[str, int] = {}
    try:
        names = limits.max_entries()
        pinned = _pinned_maps(folder, names)
        _check_layout(folder, handle, names, pinned)
        for name, fd in pinned.items():
            shim.map_reuse(handle, name, fd)
        shim.load(handle)
        map_fds = {name: shim.map_fd(handle, name) for name in names}
        shortcuts.clear(map_fds["lb_shortcuts"])  # before a program runs that would take them
        for name in names:
            if name not in pinned:
                shim.pin(map_fds[name], folder.maps / name)
        programs = {name: settle(folder, tc, handle, name) for name in (INGRESS, EGRESS)}
        sweep, adds = shim.prog_fd(handle, SNAT_SWEEP), shim.prog_fd(handle, SUM)
        return Loaded(folder, map_fds, programs, sweep=sweep, adds=adds, adopted=bool(pinned))
    finally:
        for fd in pinned.values():
            os.close(fd)
        shim.close_object(handle)


def _pinned_maps(folder: Folder, names: dict[str, int]) -> dict[str, int]:
    found = {}
    for name in names:
        fd = shim.get(folder.maps / name)
        if fd is not None:
            found[name] = fd
    return found


def _check_layout(folder: Folder, handle: Any, names: dict[str, int], pinned: dict[str, int]) -> None:
    """Every map's declaration is set here too, so all names are visited."""
    wrong = []
    for name, max_entries in names.items():
        declared = shim.map_spec(handle, name, max_entries)._replace(id=0)
        if name in pinned:
            there = shim.map_info(pinned[name])._replace(id=0)
            wrong += [
                f"{folder.maps / name} has {field} {old}, this version needs {new}"
                for field, old, new in zip(there._fields, there, declared, strict=True)
                if old != new
            ]
    if wrong:
        detail = "; ".join(wrong) + "; drain the node and uninstall the old datapath first"
        raise TargetError("take over pinned maps", detail=detail, retry=False)
