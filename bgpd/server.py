"""The speaker's end of ``speaker.sock``. Who has access to the folder may ask; one agent at a time may act.

The first connection that sends ``Apply`` is the agent until its connection ends, which the kernel sees to when a
process dies. So a new agent follows a dead one at once, and two living ones cannot pull in two directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from announcer.model.observed import Outcome, OutcomeState
from announcer.model.steps import AnyStep
from bgpd import messages
from bgpd.memory import give_back
from bgpd.secrecy import hide_in_outcomes

log = logging.getLogger("lockstep.speaker")

#: Changes within this time are told in one line. A route is mostly given, taken, written and received within it.
COALESCE_SECONDS = 0.003
#: A connection that still has something to read is told so much later.
BUSY_SECONDS = 0.1
CLOSE_SECONDS = 1.0
#: What so many steps at once took for a moment is given back so much later: there may not be as many for weeks.
MANY_STEPS = 1000
GIVE_BACK_SECONDS = 1.0


class Server:
    """Answers with what ``observe`` and ``apply`` return."""

    def __init__(
        self,
        observe: Callable[[messages.Observe], messages.Reply],
        apply: Callable[[Sequence[AnyStep]], Awaitable[list[Outcome]]],
    ) -> None:
        """Not listening yet."""
        self._observe = observe
        self._apply = apply
        self._writers: set[asyncio.StreamWriter] = set()
        self._agent: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._telling: asyncio.TimerHandle | None = None
        self._giving_back: asyncio.TimerHandle | None = None

    async def listen(self, path: Path) -> None:
        """Serve ``path`` with mode 0600. A socket that a dead speaker left there is replaced: we hold the lock."""
        remove_socket(path)
        self._server = await asyncio.start_unix_server(self._serve, path, limit=messages.MAX_LINE_BYTES)
        make_private(path)

    async def close(self) -> None:
        """Stop listening, end every connection."""
        for timer in (self._telling, self._giving_back):
            if timer:
                timer.cancel()
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for writer in list(self._writers):
            writer.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_SECONDS)

    def changed(self) -> None:
        """Tell every connection, soon."""
        if self._telling is None and self._writers:
            self._telling = asyncio.get_running_loop().call_later(COALESCE_SECONDS, self._tell)

    def _tell(self) -> None:
        self._telling = None
        # One that does not read is not written to, so that a stopped agent costs no memory. It is told later.
        busy = [writer for writer in self._writers if writer.transport.get_write_buffer_size() > 0]
        for writer in self._writers.difference(busy):
            writer.write(messages.reply_line(messages.Changed()))
        if busy:
            self._telling = asyncio.get_running_loop().call_later(BUSY_SECONDS, self._tell)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if connection := asyncio.current_task():
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while line := await reader.readline():
                task = asyncio.create_task(self._answer(messages.parse_request(line), writer))
                del line
                for holder in (tasks, self._tasks):
                    holder.add(task)
                    task.add_done_callback(holder.discard)
        except (ConnectionError, ValueError, msgspec.DecodeError) as error:
            log.warning("a connection to speaker.sock ends: %s", error)
        finally:
            self._writers.discard(writer)
            # What a dead agent asked for and was not yet begun must not happen after its successor has spoken.
            for task in tasks:
                task.cancel()
            if self._agent is writer:
                self._agent = None
                log.info("the agent has gone; everything stays as it is")
            writer.close()

    def _give_back_later(self) -> None:
        if self._giving_back:
            self._giving_back.cancel()
        self._giving_back = asyncio.get_running_loop().call_later(GIVE_BACK_SECONDS, give_back)

    async def _answer(self, request: messages.Request, writer: asyncio.StreamWriter) -> None:
        reply: messages.Reply
        if isinstance(request, messages.Hello):
            reply = messages.Greeting(request.id, os.getpid())
        elif isinstance(request, messages.Observe):
            reply = self._observe(request)
        else:
            outcomes = await self._act(request.steps, writer)
            reply = (
                messages.Results.of(request.id, outcomes)
                if request.brief
                else messages.Applied(request.id, hide_in_outcomes(outcomes))
            )
        with contextlib.suppress(ConnectionError):
            writer.write(messages.reply_line(reply))
            await writer.drain()
        if isinstance(request, messages.Apply) and len(request.steps) > MANY_STEPS:
            self._give_back_later()

    async def _act(self, steps: Sequence[AnyStep], writer: asyncio.StreamWriter) -> list[Outcome]:
        if self._agent is None:
            self._agent = writer
            log.info("the agent is process %s", _peer_pid(writer))
        if self._agent is not writer:
            problem = f"another agent is connected to this speaker (process {_peer_pid(self._agent)})"
            return [Outcome(step=step, state=OutcomeState.FAILED, problem=problem) for step in steps]
        return await self._apply(steps)


def remove_socket(path: Path) -> None:
    """Remove ``path`` if it is there."""
    path.unlink(missing_ok=True)


def make_private(path: Path) -> None:
    """Mode 0600 for ``path``."""
    path.chmod(0o600)


def _peer_pid(writer: asyncio.StreamWriter) -> int:
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", raw)[0]
    return pid
