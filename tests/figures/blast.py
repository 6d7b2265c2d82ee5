"""The client of the figures: datagrams at an even pace and connections that are held. Standard library only.

    blast.py 203.0.113.10 --udp-port 53 --rate 1000 --tcp-port 80 --connections 200

Until the end of standard input, then until all is answered or late; a line there is answered by what was seen so far.
Every connection asks for something about once a second and is the same from beginning to end; one that is reset, closed
or silent counts as broken. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Sized

SOCKETS = 64
TURN_SECONDS = 0.05
#: After so many turns in a row without an answer what is still owed is lost. In turns, as a machine that stands still
#: for some seconds has answered nothing meanwhile, and takes away one of them only.
LATE_TURNS = 60
_REQUEST = b"GET / HTTP/1.1\r\nHost: figures\r\n\r\n"


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(description="Datagrams and held connections to one VIP.")
    parser.add_argument("vip")
    parser.add_argument("--udp-port", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--tcp-port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    arguments = parser.parse_args()
    selector = selectors.DefaultSelector()
    senders = [_sender(arguments.vip, arguments.udp_port) for _ in range(SOCKETS)]
    held = [socket.create_connection((arguments.vip, arguments.tcp_port), 5) for _ in range(arguments.connections)]
    for one in (*senders, *held):
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ, one)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("started", flush=True)
    waiting: dict[bytes, float] = {}
    broken: set[int] = set()
    asked = dict.fromkeys((one.fileno() for one in held), 0.0)
    sent = 0
    due = time.monotonic()
    stopping, quiet = False, 0
    while not stopping or (quiet < LATE_TURNS and (waiting or any(asked.values()))):
        now = time.monotonic()
        while due <= now and not stopping:
            data = b"%d" % sent
            waiting[data] = now
            _try(senders[sent % SOCKETS], data)
            _ask(held, asked, broken, sent, now)
            sent += 1
            # What was due while the machine stood still is not made up for: a veth takes 256 packets at a time.
            due = max(due, now - TURN_SECONDS) + 1 / arguments.rate
        heard = selector.select(TURN_SECONDS if stopping else max(0.0, min(due - now, TURN_SECONDS)))
        quiet = 0 if heard else quiet + 1
        for key, _ in heard:
            if key.fileobj is sys.stdin:
                if os.read(key.fd, 1):
                    _tell(sent, waiting, held, broken)
                else:
                    selector.unregister(sys.stdin)
                    stopping = True
                continue
            one = key.data
            if one.fileno() in asked:
                _read(one, broken, asked, selector)
            else:
                _answers(one, waiting)
    silent = {number for number, since in asked.items() if since}
    _tell(sent, waiting, held, broken | silent)


def _tell(sent: int, waiting: Sized, held: Sized, broken: Sized) -> None:
    told = {"sent": sent, "lost": len(waiting), "connections": len(held), "broken": len(broken)}
    print(json.dumps(told), flush=True)


def _sender(vip: str, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((vip, port))
    return one


def _try(one: socket.socket, data: bytes) -> bool:
    try:
        one.send(data)
    except OSError:
        return False
    return True


def _ask(held: list[socket.socket], asked: dict[int, float], broken: set[int], sent: int, now: float) -> None:
    """Every held connection in turn; one that still owes an answer is not asked again."""
    if not held:
        return
    one = held[sent % len(held)]
    number = one.fileno()
    if sent % 1000 < len(held) and number not in broken and not asked[number]:
        if _try(one, _REQUEST):
            asked[number] = now
        else:
            broken.add(number)


def _read(one: socket.socket, broken: set[int], asked: dict[int, float], selector: selectors.BaseSelector) -> None:
    try:
        data = one.recv(65536)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    asked[one.fileno()] = 0.0
    if not data:
        broken.add(one.fileno())
        selector.unregister(one)


def _answers(one: socket.socket, waiting: dict[bytes, float]) -> None:
    while True:
        try:
            _, _, echo = one.recv(2048).partition(b" ")
        except OSError:
            return
        waiting.pop(echo, None)


if __name__ == "__main__":
    main()
