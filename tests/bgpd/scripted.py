"""Routers that say what no router should. Each has an address of its own and speaks real TCP."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from announcer.model.bgp import Neighbor
from tests.bgpd.inside import inside
from tests.bgpd.rig import LOCAL_ASN, SPEAKER_ADDRESS, Rig

ASN = 65000
MARKER = b"\xff" * 16
KEEPALIVE = MARKER + b"\x00\x13\x04"


def message(kind: int, body: bytes = b"", *, marker: bytes = MARKER, length: int | None = None) -> bytes:
    """One BGP message (RFC 4271 section 4.1), with another marker or length than is right if asked to."""
    return marker + struct.pack("!HB", 19 + len(body) if length is None else length, kind) + body


def open_message(
    *, version: int = 4, asn: int = ASN, hold: int = 30, identifier: str = "10.99.0.9", options: bytes | None = None,
    options_length: int | None = None,
) -> bytes:  # fmt: skip
    """An OPEN; a good one with IPv4 unicast and four-byte ASNs if nothing is said."""
    if options is None:
        capabilities = b"\x01\x04\x00\x01\x00\x01" + b"\x41\x04" + struct.pack("!I", asn)
        options = b"\x02" + bytes([len(capabilities)]) + capabilities
    length = len(options) if options_length is None else options_length
    head = struct.pack("!BHH4sB", version, asn & 0xFFFF, hold, IPv4Address(identifier).packed, length)
    return message(1, head + options)


def neighbor_at(address: str, *, name: str, hold_time: int = 30) -> Neighbor:
    """The neighbor that a :class:`ScriptedPeer` at ``address`` is."""
    return Neighbor(
        name=name, address=IPv4Address(address), peer_asn=ASN, local_asn=LOCAL_ASN, local_address=SPEAKER_ADDRESS,
        hold_time=hold_time,
    )  # fmt: skip


def listen_in(netns: str, address: str) -> socket.socket:
    """A listening socket on port 179 in another namespace."""
    return inside(netns, lambda: socket.create_server((address, 179)))


class ScriptedPeer:
    """Says ``bad`` to whoever connects: instead of its OPEN, or once the session is Established.

    Then it goes on as a good router would, for as long as it is let. ``notifications``: code and subcode of those it
    received. ``said``: how often it has said it. ``resets``: it ends the connection with RST after that; ``silent``: it
    reads and says nothing more.
    """

    def __init__(
        self, rig: Rig, address: str, bad: bytes, *, established: bool, reset: bool = False, silent: bool = False
    ) -> None:
        """It listens at once."""
        self.address = address
        self.notifications: list[tuple[int, int]] = []
        self.said = 0
        self._bad = bad
        self._established = established
        self.resets = reset
        self._silent = silent
        rig.in_router(f"ip address add {address}/24 dev eth0")
        self._server = listen_in(rig.name + "r", address)
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say nothing more."""
        self._stopped = True
        self._server.close()

    def _serve(self) -> None:
        self._server.settimeout(0.2)
        while not self._stopped:
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with connection:
                connection.settimeout(0.5)
                with contextlib.suppress(OSError):
                    self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        if self._established:
            connection.sendall(open_message() + KEEPALIVE)
        awaited = 4 if self._established else 1
        while not self._read(connection, until=lambda kind: kind == awaited):
            if self._stopped:
                return
        connection.sendall(self._bad)
        self.said += 1
        if self.resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        while not self._stopped:
            if self._established and not self._silent:
                with contextlib.suppress(OSError):  # it has ended, and what it said last is still to be read
                    connection.sendall(KEEPALIVE)
            self._read(connection, until=lambda kind: kind == 3)

    def _read(self, connection: socket.socket, until: Callable[[int], bool]) -> bool:
        """Read messages until one is of this kind: True, or for a while. Raises OSError if the connection has ended."""
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            try:
                head = _exactly(connection, 19)
                body = _exactly(connection, int.from_bytes(head[16:18], "big") - 19)
            except TimeoutError:
                continue
            if head[18] == 3:
                self.notifications.append((body[0], body[1]))
            if until(head[18]):
                return True
        return False


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data
