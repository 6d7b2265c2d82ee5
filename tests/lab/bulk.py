"""Much data to a server and back, compared by checksum. Standard library only, run by its path.

    bulk.py serve 5201                              both families, until it is killed; prints ``ready``
    bulk.py tcp 203.0.113.10:5201 33554432          so many bytes, both ways at once
    bulk.py udp 203.0.113.10:5201 200 8000          so many datagrams of this size, one after the other

The clients print ``same`` if all that came back is what was sent, and end with 1 if it is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import sys
import threading

_CHUNK = 1 << 16
_TIMEOUT = 20.0


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(port: int) -> None:
    """Send everything back, of streams and of datagrams."""
    threads = []
    for address in ("0.0.0.0", "::"):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            made = socket.socket(_family(address), kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in address:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((address, port))
            if kind is socket.SOCK_STREAM:
                made.listen()
            threads.append(
                threading.Thread(target=_streams if kind is socket.SOCK_STREAM else _datagrams, args=(made,))
            )
    for thread in threads:
        thread.start()
    print("ready", flush=True)


def _streams(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_send_back, args=(connection,), daemon=True).start()


def _send_back(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(_CHUNK):
            connection.sendall(data)


def _datagrams(server: socket.socket) -> None:
    while True:
        server.sendto(*server.recvfrom(_CHUNK))


def tcp(target: tuple[str, int], size: int) -> bool:
    """Send ``size`` bytes that do not repeat while reading them back."""
    pieces, sent, received = random.Random(size), hashlib.sha256(), hashlib.sha256()
    with socket.create_connection(target, _TIMEOUT) as connection:

        def send() -> None:
            left = size
            while left:
                piece = pieces.randbytes(min(left, _CHUNK))
                sent.update(piece)
                connection.sendall(piece)
                left -= len(piece)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while data := connection.recv(_CHUNK):
            received.update(data)
        sender.join()
    return sent.digest() == received.digest()


def udp(target: tuple[str, int], count: int, size: int) -> bool:
    """Each from the same port, the next as soon as one is back."""
    content = random.Random(count)
    with socket.socket(_family(target[0]), socket.SOCK_DGRAM) as one:
        one.settimeout(_TIMEOUT)
        one.connect(target)
        for _ in range(count):
            data = content.randbytes(size)
            one.send(data)
            if one.recv(_CHUNK) != data:
                return False
    return True


def main(what: str, where: str, *numbers: str) -> bool:
    """As the command line says."""
    if what == "serve":
        serve(int(where))
        return True
    host, _, port = where.rpartition(":")
    target = (host.strip("[]"), int(port))
    same = tcp(target, int(numbers[0])) if what == "tcp" else udp(target, int(numbers[0]), int(numbers[1]))
    print("same" if same else "different")
    return same


if __name__ == "__main__":
    sys.exit(not main(*sys.argv[1:]))
