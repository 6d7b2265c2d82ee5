"""What ties the programs to devices: ingress by an XDP link, egress by a tcx link or, without tcx, a filter of tc.

A link keeps its program attached as long as it is pinned or somebody holds it open, so killing the agent changes
nothing. The descriptors are held as well as pinned: should the bpffs be unmounted under us, forwarding goes on and the
pins can be restored. A filter needs none of that (:mod:`datapath.tc`). What is told is always what the kernel says now:
the link's device and program, and the program on the device.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from announcer.model.errors import TargetError
from announcer.model.lb import DeviceObserved, Hook
from datapath import shim
from datapath.bpffs import Pins, pin_over, pinned_id, unpin
from datapath.rtnl import Link, Rtnl
from datapath.settle import EGRESS, INGRESS, Program
from datapath.tc import Tc

_HOOKS = {1: Hook.XDP_NATIVE, 2: Hook.XDP_GENERIC}
_PIN_IS_GONE = "the pin is gone:"
#: Not "this device cannot do native XDP" but "this device is taken", "is gone", "you may not".
_NO_USE_TRYING_GENERIC = {errno.EBUSY, errno.EEXIST, errno.ENODEV, errno.EPERM}


class Links:
    """All links of this node. Owns their descriptors."""

    def __init__(self, folder: Path, programs: dict[str, Program], rtnl: Rtnl, tc: Tc | None) -> None:
        """``tc`` None: egress by tcx links."""
        self._folder = folder
        self._programs = {"xdp": programs[INGRESS], "tcx": programs[EGRESS]}
        self._rtnl = rtnl
        self._tc = tc
        self._pins = Pins()
        self._held: dict[str, int] = {}
        for path in sorted(folder.iterdir()):
            fd = shim.get(path)
            if fd is not None:
                self._held[path.name] = fd

    def observe(self, ifindex: int, name: str) -> DeviceObserved:
        """One device as the kernel has it."""
        try:
            link = self._rtnl.link(ifindex)
            if link is None:
                return DeviceObserved(name=name, ifindex=ifindex, problem="no such device")
            problem = (
                _unfit(link) or self._foreign(link) or self._trouble("xdp", ifindex) or self._egress_trouble(ifindex)
            )
            if not problem and link.xdp_prog != self._programs["xdp"].id:
                problem = f"the link is there but the device runs XDP program {link.xdp_prog}"
            hook = _HOOKS.get(link.xdp_mode) if link.xdp_prog == self._programs["xdp"].id else None
        except TargetError as error:
            return DeviceObserved(name=name, ifindex=ifindex, problem=str(error))
        return DeviceObserved(
            name=link.name,
            ifindex=ifindex,
            hook=hook,
            attached=not problem,
            unpinned=problem.startswith(_PIN_IS_GONE),
            problem=problem,
        )

    def attach(self, ifindex: int) -> None:
        """Attach both programs and pin their links; what is right already is left alone. Raises ``TargetError``."""
        self._drop_dead()
        link = self._rtnl.link(ifindex)
        if link is None:
            raise TargetError(f"attach to ifindex {ifindex}", errno=errno.ENODEV)
        foreign = self._foreign(link)
        if foreign:
            raise TargetError(f"attach to {link.name}", errno=errno.EBUSY, detail=foreign)
        if _unfit(link):
            raise TargetError(f"attach to {link.name}", errno=errno.EOPNOTSUPP, detail=_unfit(link), retry=False)
        self._ensure("xdp", link)
        if self._tc is None:
            self._ensure("tcx", link)
        elif self._egress_trouble(ifindex):
            self._tc.put(ifindex, self._programs["tcx"].fd)

    def close(self) -> None:
        """Close the descriptors; pinned links stay."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def _foreign(self, link: Link) -> str:
        """Is another XDP program on the device? One of ours, of an older version perhaps, sits on a link of ours."""
        ours = self._held.get(f"xdp-{link.ifindex}")
        if not link.xdp_prog or (ours is not None and shim.link_info(ours).prog_id == link.xdp_prog):
            return ""
        return f"another XDP program (id {link.xdp_prog}) is attached to {link.name}; it was left alone"

    def _egress_trouble(self, ifindex: int) -> str:
        if self._tc is None:
            return self._trouble("tcx", ifindex)
        found = self._tc.filter(ifindex)
        if found is None:
            return "egress filter not attached"
        if found.prog_id != self._programs["tcx"].id:
            return f"egress filter carries another program (id {found.prog_id})"
        return ""

    def _trouble(self, kind: str, ifindex: int) -> str:
        name = f"{kind}-{ifindex}"
        fd = self._held.get(name)
        if fd is None:
            return f"{kind} program not attached"
        info = shim.link_info(fd)
        if info.ifindex != ifindex:
            return f"{kind} program was detached"
        if info.prog_id != self._programs[kind].id:
            return f"{kind} link carries another program (id {info.prog_id})"
        pin = f"{self._folder}/{name}"
        return "" if self._pins.holds(pin, "link", info.id) else f"{_PIN_IS_GONE} {pin}"

    def _ensure(self, kind: str, link: Link) -> None:
        name = f"{kind}-{link.ifindex}"
        program = self._programs[kind]
        fd = self._held.get(name)
        if fd is None:
            fd = self._held[name] = self._create(kind, program.fd, link)
        info = shim.link_info(fd)
        if info.prog_id != program.id:
            shim.link_update(fd, program.fd)
        if pinned_id(self._folder / name, "link") != info.id:
            pin_over(fd, self._folder / name)

    def _create(self, kind: str, prog: int, link: Link) -> int:
        if kind == "tcx":
            return shim.attach_tcx_egress(prog, link.ifindex)
        try:
            return shim.attach_xdp(prog, link.ifindex, generic=False)
        except TargetError as native:
            if native.errno in _NO_USE_TRYING_GENERIC:
                raise
            try:
                return shim.attach_xdp(prog, link.ifindex, generic=True)
            except TargetError as generic:
                raise TargetError(generic.op, errno=generic.errno, detail=f"and before that: {native}") from generic

    def _drop_dead(self) -> None:
        """Links whose device is gone, or that somebody detached: nothing will ever bring them back."""
        for name, fd in list(self._held.items()):
            if shim.link_info(fd).ifindex == 0:
                del self._held[name]
                os.close(fd)
                unpin(self._folder / name)


def _unfit(link: Link) -> str:
    """The programs read Ethernet headers. A tunnel that has none would be attached to, and every packet be misread."""
    return "" if link.ethernet else f"{link.name} is no Ethernet device (a tunnel?); no packet is served on it"
