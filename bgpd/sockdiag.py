"""How much of a TCP connection of the engine its peer has acknowledged, asked of the kernel through sock_diag(7).

Own code rather than pyroute2's: its socket statistics are a dump of every socket of the node, its synchronous calls do
not work inside a running event loop, and this is asked every few milliseconds while an UPDATE is on its way. One
socket is one datagram each way, answered by the kernel in the same system call; no privilege is needed.
Structures: ``linux/inet_diag.h``, ``linux/tcp.h`` (struct tcp_info).
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import msgspec

from announcer.model.errors import TargetError
from announcer.model.net import IPAddress

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TCP_ESTABLISHED, _TCP_SYN_SENT, _TCP_CLOSE_WAIT, _TCP_LISTEN = 1, 2, 8, 10
_OPEN = 1 << _TCP_ESTABLISHED | 1 << _TCP_CLOSE_WAIT
#: All in which a socket receives anything: from Established to Closing, without Time-Wait and Listen.
_RECEIVING = _OPEN | 1 << _TCP_SYN_SENT | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11
_TIMER_RETRANSMIT = 1
_INET_DIAG_INFO = 2

_NLMSGHDR = struct.Struct("=IHHII")
# struct inet_diag_req_v2: family, protocol, ext, pad, states, then struct inet_diag_sockid.
_REQUEST = struct.Struct("=BBBxI")
# struct inet_diag_sockid: ports in network order, source, destination, interface, cookie.
_SOCKID = struct.Struct("!HH16s16sI8s")
# struct inet_diag_msg: family, state, timer, retrans, sockid, expires, rqueue, wqueue, uid, inode.
_STATE = struct.Struct("=BBBB")
_MESSAGE_HEAD = _STATE.size + _SOCKID.size
_MESSAGE_TAIL = struct.Struct("=IIIII")
_RTATTR = struct.Struct("=HH")
# offsetof(struct tcp_info, tcpi_bytes_acked), __u64. A SYN of ours counts as one of these bytes, a SYN-ACK does not.
_BYTES_ACKED = struct.Struct("=Q")
_BYTES_ACKED_AT = 120
_SYN_BYTES = 1


class TcpSocket(msgspec.Struct, frozen=True):
    """One socket. ``identity`` is the kernel's name for it; a later one with the same addresses has another cookie.

    ``acked``: bytes of the stream that the peer's TCP has. ``retransmits``: how often what it has not was sent again.
    ``accepted``: the peer began the connection.
    """

    family: int
    identity: bytes
    inode: int
    acked: int
    established: bool
    retransmits: int
    accepted: bool = False

    @property
    def local(self) -> bytes:
        """Our address in network order."""
        return self.identity[4 : 8 if self.family == socket.AF_INET else 20]

    @property
    def peer(self) -> bytes:
        """The peer's address in network order."""
        return self.identity[20 : 24 if self.family == socket.AF_INET else 36]


class SockDiag:
    """A netlink socket to ask with. Close it."""

    def __init__(self) -> None:
        """Raises OSError if the kernel has no sock_diag."""
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        self._netlink.settimeout(1.0)

    def close(self) -> None:
        """Give the netlink socket back."""
        self._netlink.close()

    def find(self, pid: int, peer: IPAddress, port: int, *, accepted: bool = False) -> TcpSocket | None:
        """The established connection of process ``pid`` to ``peer`` and ``port``, None if there is none.

        ``accepted``: the peer began it, and ``port`` is ours. None as well if there are two: then one is about to be
        refused, and nothing tells which. Raises TargetError if the kernel refuses the question.
        """
        inodes = socket_inodes(pid)
        family = socket.AF_INET if peer.version == 4 else socket.AF_INET6
        open_ones = self._at(family, port, _OPEN) if accepted else self._toward(family, port, _OPEN)
        found = [one for one in open_ones if one.peer == peer.packed and one.inode in inodes]
        return found[0] if len(found) == 1 else None

    def listening(self, port: int) -> list[TcpSocket]:
        """Whatever in this network namespace listens on ``port``. Raises TargetError if the kernel refuses to say."""
        families = (socket.AF_INET, socket.AF_INET6)
        return [found for family in families for found in self._at(family, port, 1 << _TCP_LISTEN)]

    def toward(self, port: int) -> list[TcpSocket]:
        """Whatever in this network namespace is connected to ``port``, or wants to be, or is not yet done with it.

        Raises TargetError if the kernel refuses the question.
        """
        families = (socket.AF_INET, socket.AF_INET6)
        return [found for family in families for found in self._toward(family, port, _RECEIVING)]

    def _toward(self, family: int, port: int, states: int) -> list[TcpSocket]:
        identity = _SOCKID.pack(0, port, bytes(16), bytes(16), 0, b"\xff" * 8)
        return self._ask(family, identity, dump=True, states=states)

    def _at(self, family: int, port: int, states: int) -> list[TcpSocket]:
        identity = _SOCKID.pack(port, 0, bytes(16), bytes(16), 0, b"\xff" * 8)
        return self._ask(family, identity, dump=True, states=states, accepted=True)

    def acked(self, known: TcpSocket) -> int | None:
        """Bytes of the stream that the peer's TCP has acknowledged, None if the connection is gone.

        Raises TargetError if the kernel refuses the question.
        """
        for found in self._ask(known.family, known.identity, dump=False, accepted=known.accepted):
            return found.acked
        return None

    def _ask(
        self, family: int, identity: bytes, *, dump: bool, states: int = _OPEN, accepted: bool = False
    ) -> list[TcpSocket]:
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), states) + identity
        flags = _NLM_F_REQUEST | (_NLM_F_DUMP if dump else 0)
        self._netlink.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 0, 0) + body)
        found: list[TcpSocket] = []
        done = False
        while not done:
            done = self._read(self._netlink.recv(1 << 16), found, accepted=accepted) or not dump
        return found

    @staticmethod
    def _read(datagram: bytes, found: list[TcpSocket], *, accepted: bool) -> bool:
        """Collect the sockets of one datagram. True if it was the last."""
        at = 0
        while at + _NLMSGHDR.size <= len(datagram):
            length, kind, _, _, _ = _NLMSGHDR.unpack_from(datagram, at)
            message = datagram[at + _NLMSGHDR.size : at + length]
            if kind == _NLMSG_DONE:
                return True
            if kind == _NLMSG_ERROR:
                errno = -struct.unpack_from("=i", message)[0]
                if errno in (0, 2):  # ENOENT: the socket has gone
                    return True
                raise TargetError("sock_diag", errno=errno)
            found.append(_socket_of(message, accepted=accepted))
            at += (length + 3) & ~3
        return False


def _socket_of(message: bytes, *, accepted: bool) -> TcpSocket:
    family, state, timer, retransmits = _STATE.unpack_from(message)
    _, _, _, _, inode = _MESSAGE_TAIL.unpack_from(message, _MESSAGE_HEAD)
    at = _MESSAGE_HEAD + _MESSAGE_TAIL.size
    acked = 0
    while at + _RTATTR.size <= len(message):
        length, kind = _RTATTR.unpack_from(message, at)
        if kind == _INET_DIAG_INFO and length >= _RTATTR.size + _BYTES_ACKED_AT + _BYTES_ACKED.size:
            acked = _BYTES_ACKED.unpack_from(message, at + _RTATTR.size + _BYTES_ACKED_AT)[0]
        at += max((length + 3) & ~3, _RTATTR.size)
    return TcpSocket(
        family=family,
        identity=message[_STATE.size : _MESSAGE_HEAD],
        inode=inode,
        acked=acked if accepted else max(0, acked - _SYN_BYTES),
        established=state == _TCP_ESTABLISHED,
        retransmits=retransmits if timer == _TIMER_RETRANSMIT else 0,
        accepted=accepted,
    )


def socket_inodes(pid: int) -> set[int]:
    """Inodes of the sockets that ``pid`` holds; empty if it is gone."""
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except OSError:  # closed between listing and reading
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except OSError:
        return set()
    return found
