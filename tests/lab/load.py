"""The load client: asks many times, counts the answers, prints JSON. Standard library only, run by its path.

    load.py http 203.0.113.10:80 --count 400 --concurrency 16     each request on a new connection
    load.py udp  203.0.113.10:53 --count 400                      each datagram from a new port
    load.py http 203.0.113.10:80 --rate 200                       until SIGTERM or the end of standard input

Prints ``{"ok", "failed", "backends": {pod: count}, "clients": {address: count}, "errors": {what: count}, "seconds"}``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import cast

Answer = tuple[str, str]
"""The pod that answered, and the client address it saw (empty for UDP)."""
Ask = Callable[[], Coroutine[None, None, Answer]]

_PIECES = 10


async def ask_http(host: str, port: int) -> Answer:
    """Send one request on a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError("bad answer")
        answer = json.loads(body)
        return answer["pod"], answer["client"]
    finally:
        writer.close()


class _OneDatagram(asyncio.DatagramProtocol):
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._data)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.reply.done():
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def ask_udp(host: str, port: int) -> Answer:
    """Send one datagram from a port of its own and read who sent it back."""
    data = b"%d" % time.monotonic_ns()
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _OneDatagram(data), remote_addr=(host, port)
    )
    try:
        pod, _, echo = (await protocol.reply).partition(b" ")
        if echo != data:
            raise ValueError("bad answer")
        return pod.decode(), ""
    finally:
        transport.close()


def describe(error: Exception) -> str:
    """Name a failure without the address that asyncio puts into it, so that equal failures count as one."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else f"{type(error).__name__}: {error}"


async def in_time(answer: Coroutine[None, None, Answer], patience: float) -> Answer:
    """The answer, or TimeoutError after ``patience``, in seconds.

    It passes in pieces: a machine that stands still for some seconds takes one of them away, and not all.
    """
    asked = asyncio.ensure_future(answer)
    for _ in range(_PIECES):
        done, _ = await asyncio.wait({asked}, timeout=patience / _PIECES)
        if done:
            return asked.result()
    asked.cancel()
    await asyncio.wait({asked})
    raise TimeoutError


class Tally:
    """What came of the requests so far."""

    def __init__(self, ask: Ask, timeout: float) -> None:
        self._ask = ask
        self._timeout = timeout
        self._started = time.monotonic()
        self.backends: Counter[str] = Counter()
        self.clients: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    async def once(self) -> None:
        """Ask once and count the outcome."""
        try:
            pod, client = await in_time(self._ask(), self._timeout)
        except TimeoutError:
            self.errors["timeout"] += 1
        except (OSError, ValueError, KeyError) as error:
            self.errors[describe(error)] += 1
        else:
            self.backends[pod] += 1
            if client:
                self.clients[client] += 1

    def json(self) -> str:
        """Return the summary as one line."""
        summary = {
            "ok": self.backends.total(),
            "failed": self.errors.total(),
            "backends": dict(sorted(self.backends.items())),
            "clients": dict(sorted(self.clients.items())),
            "errors": dict(sorted(self.errors.items())),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        return json.dumps(summary)


async def run_count(tally: Tally, count: int, concurrency: int) -> None:
    """Ask ``count`` times, at most ``concurrency`` at once."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await tally.once()

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def run_rate(tally: Tally, rate: float) -> None:
    """Ask ``rate`` times a second until told to stop, whatever becomes of the earlier ones; then wait for the last."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.connect_read_pipe(lambda: _EndOfInput(stop), sys.stdin)
    print("started", flush=True)
    async with asyncio.TaskGroup() as group:
        due = loop.time()
        while not stop.is_set():
            group.create_task(tally.once())
            due += 1 / rate
            try:
                await asyncio.wait_for(stop.wait(), max(0.0, due - loop.time()))
            except TimeoutError:
                continue


class _EndOfInput(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop.set()


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Ask a VIP many times and count who answers.")
    parser.add_argument("protocol", choices=["http", "udp"])
    parser.add_argument("target", help="ADDRESS:PORT, an IPv6 address in brackets")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--count", type=int, help="how many requests")
    mode.add_argument("--rate", type=float, help="requests per second, until SIGTERM or the end of standard input")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds for one request")
    return parser.parse_args(argv)


async def main(argv: list[str]) -> None:
    """Run the load and print the summary."""
    args = parse(argv)
    host, _, port = args.target.rpartition(":")
    ask = {"http": ask_http, "udp": ask_udp}[args.protocol]
    tally = Tally(lambda: ask(host.strip("[]"), int(port)), args.timeout)
    if args.count is not None:
        await run_count(tally, args.count, args.concurrency)
    else:
        await run_rate(tally, args.rate)
    print(tally.json())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
