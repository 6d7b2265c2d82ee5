"""A netlink socket that asks and is answered in place (RFC 3549), whether or not an event loop is running.

It belongs to the network namespace in which it was opened.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from announcer.model.errors import TargetError

#: ``struct nlmsghdr``: length, type, flags, sequence, port.
HEADER = struct.Struct("=IHHII")
REQUEST, ACK, ECHO, REPLACE, EXCL, DUMP, CREATE = 0x1, 0x4, 0x8, 0x100, 0x200, 0x300, 0x400
_ERROR, _DONE = 2, 3
#: The kernel answers at once; seconds.
_DEADLINE = 2.0


def attribute(kind: int, value: bytes) -> bytes:
    """One ``struct nlattr`` with its padding; nested ones are the value of the outer."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Values by kind, from ``offset`` to the end; the flags of the kind (nested, byte order) are left out."""
    found = {}
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


class Netlink:
    """One socket of a netlink protocol (``socket.NETLINK_...``)."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_DEADLINE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def talk(self, kind: int, flags: int, body: bytes, op: str) -> Iterator[bytes]:
        """Send a request and yield the answers with their headers; read a dump to its end. Raises ``TargetError``."""
        self._sequence += 1
        try:
            self._socket.send(HEADER.pack(HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
            while True:
                data = self._socket.recv(1 << 17)
                offset = 0
                while offset < len(data):
                    length, answer, _, sequence, _ = HEADER.unpack_from(data, offset)
                    message, offset = data[offset : offset + length], offset + ((length + 3) & ~3)
                    if sequence != self._sequence:
                        continue  # of a request that was given up
                    if answer == _DONE:
                        return
                    if answer == _ERROR:
                        code = -struct.unpack_from("=i", message, HEADER.size)[0]
                        if code:
                            raise TargetError(op, errno=code)
                        return
                    yield message
                    if flags & DUMP != DUMP:
                        return
        except TimeoutError as error:
            raise TargetError(op, errno=errno.ETIMEDOUT) from error
        except OSError as error:
            raise TargetError(op, errno=error.errno or errno.EIO, detail=os.strerror(error.errno or 0)) from error
