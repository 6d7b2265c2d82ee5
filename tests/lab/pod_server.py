"""The program in every pod: ``pod_server.py NAME HTTP_PORT UDP_PORT``. Standard library only, run by its path.

HTTP: every request is answered with JSON, ``{"pod", "client", "client_port", "keep_alive"}``, so that a client can see
who answered and with which source address its packets arrived. UDP: the datagram comes back after ``NAME`` and a space.
Prints ``ready`` as soon as both ports are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from typing import cast

BACKLOG = 4096
#: More than arrives while the server is not let run for some seconds: that it is slow must not look like a loss.
RECEIVE_BYTES = 1 << 24
ADDRESSES = ("0.0.0.0", "::")
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it


class Echo(asyncio.DatagramProtocol):
    """The UDP side."""

    def __init__(self, name: str) -> None:
        self._prefix = name.encode() + b" "

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._transport.sendto(self._prefix + data, addr)


async def serve_connection(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests until the client closes, or asks for the connection to be closed after one."""
    client, client_port = writer.get_extra_info("peername")[:2]
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        keep_alive = True
        while keep_alive:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            keep_alive = "connection: close" not in head and " http/1.0" not in head.partition("\r\n")[0]
            answer = {"pod": name, "client": client, "client_port": client_port, "keep_alive": keep_alive}
            body = json.dumps(answer).encode()
            connection = "keep-alive" if keep_alive else "close"
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                f"Connection: {connection}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    writer.close()


def datagrams(address: str, port: int) -> socket.socket:
    """A socket for just the family of the address."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if ":" in address:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BYTES)
    made.bind((address, port))
    made.setblocking(False)
    return made


async def main(name: str, http_port: int, udp_port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    for address in ADDRESSES:
        await loop.create_datagram_endpoint(lambda: Echo(name), sock=datagrams(address, udp_port))
    server = await asyncio.start_server(
        lambda r, w: serve_connection(name, r, w), ADDRESSES, http_port, backlog=BACKLOG
    )
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
