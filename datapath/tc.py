"""The egress program on kernels without tcx (before 6.6): a direct-action ``cls_bpf`` filter under a ``clsact`` qdisc.

Unlike a link it is not pinned and nobody holds it: it stays with the device until somebody deletes it. So it carries in
itself whose it is: a priority, a handle and a name of ours. The name also tells whether the qdisc under it was made by
us, because a qdisc that was there before belongs to whoever made it.

Documentation/networking/filter.rst, tc-bpf(8); rtnetlink as in ``linux/pkt_sched.h`` and ``linux/pkt_cls.h``. Packed by
hand: pyroute2 does not know the program id of a filter (TCA_BPF_ID), which is all that matters here.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from typing import NamedTuple

from announcer.model.errors import TargetError
from datapath.netlink import ACK, CREATE, DUMP, ECHO, EXCL, HEADER, REPLACE, REQUEST, Netlink, attribute, attributes

_NEWQDISC, _DELQDISC, _GETQDISC, _NEWFILTER, _DELFILTER, _GETFILTER = 36, 37, 38, 44, 45, 46
#: ``struct tcmsg``: family, ifindex, handle, parent, info.
_TCMSG = struct.Struct("=B3xiIII")
_CLSACT, _CLSACT_HANDLE, _INGRESS, _EGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2, 0xFFFFFFF3
_KIND, _OPTIONS, _INGRESS_BLOCK, _EGRESS_BLOCK = 1, 2, 13, 14
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = 1

#: Early, because another filter that says "accept" ends the walk; not 1, which others like to have to themselves. Ours
#: never ends it for a packet that may go on.
PRIORITY = 2
HANDLE = int.from_bytes(b"lkst", "big")
_INFO = PRIORITY << 16 | socket.htons(0x0003)  # ETH_P_ALL
_NAME, _NAME_WITH_QDISC = "lockstep", "lockstep+clsact"
#: No such filter, no qdisc to look under (or another kind of filter in our place), no such device.
_ABSENT = {errno.ENOENT, errno.EINVAL, errno.ENODEV}


class Filter(NamedTuple):
    """The filter of ours on a device. ``our_qdisc``: we made the qdisc that it is in."""

    prog_id: int
    our_qdisc: bool


class Tc:
    """One rtnetlink socket; it belongs to the network namespace in which it was opened."""

    def __init__(self) -> None:
        self._netlink = Netlink(socket.NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket; filters stay."""
        self._netlink.close()

    def filter(self, ifindex: int) -> Filter | None:
        """Our egress filter, None if there is none. Raises ``TargetError``."""
        found = self._at_our_place(ifindex)
        if found is None:
            return None
        name, prog_id = found
        return Filter(prog_id, name == _NAME_WITH_QDISC) if name in (_NAME, _NAME_WITH_QDISC) else None

    def put(self, ifindex: int, prog: int) -> None:
        """Have our filter run this program (a descriptor); one that is there is exchanged in place (RCU): no packet
        meets the device without one. Raises ``TargetError``: its place is taken by another, ``ingress`` qdisc, ...
        """
        old = self.filter(ifindex)
        if old:
            self._new_filter(ifindex, prog, REPLACE, our_qdisc=old.our_qdisc)
            return
        if self._at_our_place(ifindex):
            detail = f"another's filter has priority {PRIORITY} and handle {HANDLE:#x}; it was left alone"
            raise TargetError(f"tc filter add ifindex {ifindex}", errno=errno.EEXIST, detail=detail)
        made = self._have_qdisc(ifindex)
        try:
            self._new_filter(ifindex, prog, CREATE | EXCL, our_qdisc=made)
        except TargetError:
            if made:
                self._drop_qdisc(ifindex)
            raise

    def remove(self, ifindex: int) -> None:
        """Remove our filter, and the qdisc if we made it and nobody else put anything in it. Raises ``TargetError``."""
        found = self.filter(ifindex)
        if found is None:
            return
        self._ask(_DELFILTER, 0, ifindex, _EGRESS, attribute(_KIND, b"bpf\0"), handle=HANDLE, info=_INFO)
        if found.our_qdisc:
            self._drop_qdisc(ifindex)

    def _at_our_place(self, ifindex: int) -> tuple[str, int] | None:
        try:
            answer = self._ask(_GETFILTER, 0, ifindex, _EGRESS, attribute(_KIND, b"bpf\0"), handle=HANDLE, info=_INFO)
        except TargetError as error:
            if error.errno in _ABSENT:
                return None
            raise
        options = attributes(attributes(answer[0], HEADER.size + _TCMSG.size).get(_OPTIONS, b"")) if answer else {}
        name = options.get(_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace")
        return name, int.from_bytes(options.get(_BPF_ID, b""), sys.byteorder)

    def _new_filter(self, ifindex: int, prog: int, flags: int, *, our_qdisc: bool) -> None:
        name = _NAME_WITH_QDISC if our_qdisc else _NAME
        options = (
            attribute(_BPF_FD, struct.pack("=I", prog))
            + attribute(_BPF_NAME, name.encode() + b"\0")
            + attribute(_BPF_FLAGS, struct.pack("=I", _DIRECT_ACTION))
        )
        rest = attribute(_KIND, b"bpf\0") + attribute(_OPTIONS, options)
        self._ask(_NEWFILTER, flags, ifindex, _EGRESS, rest, handle=HANDLE, info=_INFO)

    def _have_qdisc(self, ifindex: int) -> bool:
        """True if it had to be made."""
        try:
            rest = attribute(_KIND, b"clsact\0")
            self._ask(_NEWQDISC, CREATE | EXCL, ifindex, _CLSACT, rest, handle=_CLSACT_HANDLE)
        except TargetError as error:
            if error.errno != errno.EEXIST:
                raise
        else:
            return True
        kind = self._qdisc(ifindex).get(_KIND, b"").rstrip(b"\0").decode()
        if kind != "clsact":
            # It has no egress side: the kernel would take the filter, and run it on what comes in.
            detail = f"it has a qdisc {kind} where clsact is needed; it was left alone"
            raise TargetError(f"tc qdisc add ifindex {ifindex} clsact", errno=errno.EEXIST, detail=detail)
        return False

    def _qdisc(self, ifindex: int) -> dict[int, bytes]:
        answer = self._ask(_GETQDISC, ECHO, ifindex, _CLSACT)  # without it only the listeners would hear
        return attributes(answer[0], HEADER.size + _TCMSG.size) if answer else {}

    def _drop_qdisc(self, ifindex: int) -> None:
        """Between the look and the removal somebody may put a filter in; the kernel offers no way to exclude that."""
        if {_INGRESS_BLOCK, _EGRESS_BLOCK} & self._qdisc(ifindex).keys():
            return
        if not any(self._ask(_GETFILTER, DUMP, ifindex, parent) for parent in (_INGRESS, _EGRESS)):
            self._ask(_DELQDISC, 0, ifindex, _CLSACT, handle=_CLSACT_HANDLE)

    def _ask(
        self, kind: int, flags: int, ifindex: int, parent: int, rest: bytes = b"", *, handle: int = 0, info: int = 0
    ) -> list[bytes]:
        body = _TCMSG.pack(socket.AF_UNSPEC, ifindex, handle, parent, info) + rest
        return list(self._netlink.talk(kind, REQUEST | ACK | flags, body, f"{_OPS[kind]} ifindex {ifindex}"))


_OPS = {
    _NEWQDISC: "tc qdisc add clsact",
    _DELQDISC: "tc qdisc del clsact",
    _GETQDISC: "tc qdisc show",
    _NEWFILTER: "tc filter add egress",
    _DELFILTER: "tc filter del egress",
    _GETFILTER: "tc filter show egress",
}
