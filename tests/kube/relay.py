"""A TCP relay in front of the API server, so that the network between can fail: cut, silent, gone.

It runs in a thread with a loop of its own. What it carries is TLS; it sees nothing of it. Its listening sockets may be
in another network namespace than the server, which is how nodes of the lab reach one that runs outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any

_CLONE_NEWNET = 0x40000000


class Relay:
    """``with Relay(port) as relay:`` listens on ``relay.url``; ``listeners`` are more sockets to listen on."""

    def __init__(self, target: int, listeners: Sequence[socket.socket] = ()) -> None:
        """``target`` is the port of the API server on loopback."""
        self._target = target
        own = socket.create_server(("127.0.0.1", 0))
        self._listeners = [own, *listeners]
        self.port = own.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._pairs: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.Event()
        self._flowing = asyncio.Event()
        self._stop: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where it listens, as a client of the API server writes it."""
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Relay:
        """Begin to listen."""
        self._accepting.set()
        self._flowing.set()
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut everything."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for listener in self._listeners:
            listener.close()

    def cut(self) -> None:
        """Reset all connections; new ones are taken."""
        self._call(self._cut())

    def freeze(self) -> None:
        """Nothing gets through any more, and nobody is told: connections that stand, and new ones, hang."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def thaw(self) -> None:
        """Everything flows again, what was held back as well."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def go_away(self) -> None:
        """Reset all connections, and every new one at once."""
        self._loop.call_soon_threadsafe(self._accepting.clear)
        self.cut()

    def come_back(self) -> None:
        """Take connections again."""
        self._loop.call_soon_threadsafe(self._accepting.set)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        for listener in self._listeners:
            listener.setblocking(False)
            self._stop.append(self._loop.create_task(self._accept(listener)))

    async def _end(self) -> None:
        for task in self._stop:
            task.cancel()
        await asyncio.gather(*self._stop, return_exceptions=True)
        await self._cut()

    async def _cut(self) -> None:
        pairs = list(self._pairs)
        for task in pairs:
            task.cancel()
        await asyncio.gather(*pairs, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            if not self._accepting.is_set():
                client.close()
                continue
            self._take(client)

    def _take(self, client: socket.socket) -> None:
        task = self._loop.create_task(self._pair(client))
        self._pairs.add(task)
        task.add_done_callback(self._pairs.discard)
        # One that is cut before its first step has nothing that would close it.
        task.add_done_callback(lambda _: client.close())

    async def _pair(self, client: socket.socket) -> None:
        server = socket.socket()
        try:
            server.setblocking(False)
            client.setblocking(False)
            await self._loop.sock_connect(server, ("127.0.0.1", self._target))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(client, server))
                group.create_task(self._carry(server, client))
        except* OSError:
            pass
        finally:
            for end in (client, server):
                # A reset, not an orderly end.
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                end.close()

    async def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        while True:
            piece = await self._loop.sock_recv(source, 1 << 16)
            await self._flowing.wait()
            if not piece:
                raise ConnectionResetError
            await self._loop.sock_sendall(sink, piece)


def listen_in(netns: str, port: int) -> socket.socket:
    """A socket that listens on loopback inside the network namespace ``netns`` (its name in /run/netns)."""
    made: list[socket.socket] = []

    def work() -> None:
        # A thread may change its namespace alone; the socket stays where it was made.
        with open(f"/run/netns/{netns}", "rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made.append(socket.create_server(("127.0.0.1", port)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if not made:
        raise OSError(f"cannot listen in {netns}")
    return made[0]
