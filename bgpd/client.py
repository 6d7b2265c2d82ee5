"""The agent's side of ``speaker.sock``: implements ``announcer.model.hands.BgpHand``.

While something is asked, the speaker is asked for a sign of life as well. Without one nothing is waited for any longer,
and nothing more is asked until there is one: a speaker that stands still must not hold up the datapath.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import tenacity

from announcer.model.bgp import Neighbor
from announcer.model.observed import BgpObserved, Outcome, OutcomeState
from announcer.model.steps import AnyStep, ConfigureNeighbors
from bgpd import messages
from bgpd.heard import Heard

_OBSERVE_SECONDS = 5.0
_APPLY_SECONDS = 60.0
#: How long a call waits for a connection that is being made.
_CONNECT_SECONDS = 0.3
_RECONNECT_SECONDS = (0.05, 0.2)
#: How often a sign of life is asked for, and how many of them may stay away. Counted and not timed: while this process
#: does not run itself, nothing can come.
_BEAT_SECONDS = 0.5
_BEATS_MISSED = 4

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

_R = TypeVar("_R", bound=messages.Reply)


class SpeakerClient:
    """Connects in the background and reconnects by itself until closed. For one event loop.

    ``changed`` is set on every change at the speaker and on every connection and disconnection. Whoever waits for
    it clears it, then observes.
    """

    def __init__(self, socket: Path) -> None:
        """``socket``: the speaker's, ``<state-dir>/speaker.sock``."""
        self._socket = socket
        self.changed = asyncio.Event()
        self._tried = asyncio.Event()  # to connect, since there was a connection
        self._closed = threading.Event()  # the kind that tenacity's stop condition takes
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[messages.Reply]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._configured: dict[str, Neighbor] = {}  # over the present connection
        self._heard = Heard()  # over the present connection
        self._observing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._pid: int | None = None
        self._missed = 0
        self._beating: asyncio.TimerHandle | None = None

    @property
    def silent(self) -> bool:
        """There is a connection, and no sign of life."""
        return self._missed >= _BEATS_MISSED

    @property
    def speaker_pid(self) -> int | None:
        """Of whoever listens at the other end, by the kernel's word (SO_PEERCRED, unix(7)).

        None without a connection, or if he lives in another PID namespace.
        """
        return self._pid if self._writer is not None else None

    async def start(self) -> None:
        """Begin to connect, in the background. The other calls do it as well."""
        if self._task is None and not self._closed.is_set():
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Disconnect for good. Changes nothing at the speaker."""
        self._closed.set()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._disconnect()

    async def observe(self) -> BgpObserved:
        """Everything as the speaker sees it. If it does not answer: ``reachable`` False and why, no exception.

        Over one connection, what is the same as the last time is the very same object: all of it, a peer, its ``rib``,
        an entry of that.
        """
        async with self._observing:  # what one was told, the next one has seen
            number, heard = next(self._numbers), self._heard
            question = messages.Observe(number, heard.seen)
            try:
                reply: messages.Observed | messages.News = await self._ask(
                    question, number, (messages.Observed, messages.News), _OBSERVE_SECONDS
                )
            except (ConnectionError, TimeoutError) as error:
                return BgpObserved(reachable=False, problem=f"the speaker does not answer on {self._socket}: {error}")
            heard.take(reply)
            return heard.observed(self._configured)

    async def apply(self, steps: Sequence[AnyStep]) -> list[Outcome]:
        """Carry out ``steps`` in order; the outcomes are in the same order. All failed if the speaker is away."""
        number = next(self._numbers)
        try:
            reply: messages.Applied | messages.Results = await self._ask(
                messages.Apply(number, list(steps), brief=True),
                number,
                (messages.Applied, messages.Results),
                _APPLY_SECONDS,
            )
        except (ConnectionError, TimeoutError) as error:
            problem = f"the speaker does not answer on {self._socket}: {error}"
            return [Outcome(step=step, state=OutcomeState.FAILED, problem=problem) for step in steps]
        if isinstance(reply, messages.Results):
            outcomes = reply.outcomes(steps)
        else:  # of a speaker of an earlier release
            outcomes = [msgspec.structs.replace(o, step=step) for o, step in zip(reply.outcomes, steps, strict=True)]
        for outcome in outcomes:
            if isinstance(outcome.step, ConfigureNeighbors) and outcome.state is OutcomeState.DONE:
                self._configured = {neighbor.name: neighbor for neighbor in outcome.step.neighbors}
        return outcomes

    async def hello(self) -> int:
        """The speaker's process id. Raises ConnectionError or TimeoutError if it does not answer."""
        number = next(self._numbers)
        return (await self._ask(messages.Hello(number), number, (messages.Greeting,), _OBSERVE_SECONDS)).pid

    async def _ask(self, request: messages.Request, number: int, kinds: tuple[type[_R], ...], seconds: float) -> _R:
        await self.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._tried.wait()
        if self._writer is None:
            raise ConnectionError("no connection")
        if self.silent:
            raise TimeoutError("no sign of life")
        answer: asyncio.Future[messages.Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        if self._beating is None:
            self._beat_later()
        try:
            async with asyncio.timeout(seconds):
                self._writer.write(messages.request_line(request))
                await self._writer.drain()
                reply = await answer
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no answer in {seconds:.0f} s") from None
        finally:
            self._waiting.pop(number, None)
            if not self._waiting:
                self._beat_no_more()
        if not isinstance(reply, kinds):
            raise ConnectionError(f"the speaker answered with {type(reply).__name__}")
        return reply

    async def _run(self) -> None:
        while not self._closed.is_set():
            reader = await self._connect()
            self._tried.set()
            self.changed.set()
            with contextlib.suppress(ConnectionError, ValueError, msgspec.DecodeError):
                while line := await reader.readline():
                    self._receive(messages.parse_reply(line))
            self._disconnect()

    def _beat_later(self) -> None:
        self._beating = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def _beat_no_more(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None

    def _beat(self) -> None:
        """Ask for a sign of life while something is waited for, and say when they stay away."""
        self._beating = None
        self._missed += 1
        if self.silent:
            self._give_up(TimeoutError(f"no sign of life in {_BEAT_SECONDS * _BEATS_MISSED:.0f} s"))
        elif self._writer is not None:
            self._writer.write(messages.request_line(messages.Hello(next(self._numbers))))
            self._beat_later()

    def _give_up(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    async def _connect(self) -> asyncio.StreamReader:
        first, longest = _RECONNECT_SECONDS
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(OSError),
            wait=tenacity.wait_exponential(multiplier=first, max=longest),
            stop=tenacity.stop_when_event_set(self._closed),
            reraise=True,
        ):
            with attempt:
                try:
                    reader, self._writer = await asyncio.open_unix_connection(
                        self._socket, limit=messages.MAX_LINE_BYTES
                    )
                    self._pid = _listener(self._writer)
                except OSError:
                    self._tried.set()
                    raise
        return reader

    def _receive(self, reply: messages.Reply) -> None:
        if self.silent:
            self.changed.set()
        self._missed = 0
        if isinstance(reply, messages.Changed):
            self.changed.set()
        elif (waiting := self._waiting.get(reply.id)) is not None and not waiting.done():
            waiting.set_result(reply)

    def _disconnect(self) -> None:
        self._tried.clear()
        self._configured = {}
        self._heard = Heard()
        if self._writer:
            self._writer.close()
            self._writer = None
        self._beat_no_more()
        self._missed = 0
        self._give_up(ConnectionError("the connection ended"))
        self.changed.set()


def _listener(writer: asyncio.StreamWriter) -> int | None:
    """Asked for once: a connection that ends has no socket for a moment before anybody learns of it."""
    connection: socket.socket = writer.get_extra_info("socket")
    pid, _, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid or None
