"""Has ExaBGP sleep until something can happen, where it would look a thousand times in a second whether it has.

Its reactor gives each peer, its helper and its queue a turn, and then waits for a hundredth of ``reactor.speed`` at
most: with nothing to do that costs 4 % of a core, and at a coarser speed it is late. What can give the next turn
something to do follows from the state that it is in:

- a command: the helper's pipe;
- what a peer says or does: the socket of its session, and, which ExaBGP never waits for, of the attempt at one;
- a peer that comes by itself: the sockets of ``bgpd.listener``;
- time: its timers (``exabgp.bgp.timer``) count whole seconds, so nothing of them changes before the next one;
- the end of a back-off; a while after an attempt that failed at once, which is then made again;
- a signal: reload, end. Python writes a byte for each to a socket of ours (``signal.set_wakeup_fd``);
- what this turn left to be done: then there is no sleep.

The whole second bounds what a case that is not in this list could cost.

Imports ExaBGP, so import it after ``overlay.run_on_monotonic_time``.
"""

from __future__ import annotations

import inspect
import math
import select
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from exabgp.reactor.asynchronous import ASYNC
from exabgp.reactor.loop import Reactor
from exabgp.reactor.protocol import Protocol

#: ExaBGP's timers count whole ones.
TICK_SECONDS = 1.0
#: An attempt at a connection that fails at once (no route, no such address here) is made again so much later.
_RETRY_SECONDS = 0.25
_NONE = -1  # ExaBGP's descriptor of no socket

#: Attempts at a connection that are under way, by peer.
_attempts: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


class Wait(NamedTuple):
    """What ends the sleep: ``descriptors``, each with the events of poll(2), or the Unix time ``until``."""

    descriptors: dict[int, int]
    until: float


def awaited(reactor: Any, now: float) -> Wait:
    """What can give ``reactor`` something to do. ``now`` and the answer by the clock of ExaBGP."""
    descriptors = dict.fromkeys((*reactor.processes.fds, *reactor.listener.descriptors), select.POLLIN)
    tick = (math.floor(now / TICK_SECONDS) + 1) * TICK_SECONDS
    until = min(tick, now + reactor.listener.pause())
    for name in reactor.active_peers():
        peer = reactor._peers[name]
        if peer.generator:
            until = min(until, _follow(peer, descriptors, now))
        elif peer.generator is None:
            until = min(until, peer._delay._time)
    return Wait(descriptors, until)


def _follow(peer: Any, descriptors: dict[int, int], now: float) -> float:
    """Add what a peer with an attempt or a session waits for. Returns until when it may sleep."""
    if inspect.getgeneratorstate(peer.generator) == inspect.GEN_CREATED:
        return now
    attempt = _attempts.get(peer)
    descriptor = attempt.fd() if attempt is not None else peer.socket()
    if descriptor != _NONE:
        descriptors[descriptor] = select.POLLIN | select.POLLPRI if attempt is None else select.POLLOUT
        return math.inf
    return now + _RETRY_SECONDS


class Sleep:
    """One reactor's. Make it in the main thread: signals are its as well."""

    def __init__(self, reactor: Any) -> None:
        """From now on signals end its sleep, also one that comes before it."""
        self._reactor = reactor
        self._signalled, writer = socket.socketpair()
        for end in (self._signalled, writer):
            end.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._writer = writer  # lives as long as this

    def until_something_can_happen(self) -> None:
        """Return at once if the queue did or has something, since that may have given the peers something to do."""
        if self._reactor.asynchronous.moved:
            return
        now = time.time()
        descriptors, until = awaited(self._reactor, now)
        poll = select.poll()
        poll.register(self._signalled, select.POLLIN)
        for descriptor, events in descriptors.items():
            poll.register(descriptor, events)
        found = poll.poll(max(0, math.ceil(1000 * (until - now))))
        if any(descriptor == self._signalled.fileno() for descriptor, _ in found):
            self._signalled.recv(4096)


def sleep_until_something_can_happen() -> None:
    """Have every reactor that is made from now on do so."""
    begin, connect, run = Reactor.__init__, Protocol.connect, ASYNC.run

    def begin_with_sleep(self: Any, configuration: Any) -> None:
        begin(self, configuration)
        self.sleep = Sleep(self)

    def wait_for_io(self: Any, milliseconds: int) -> Iterator[int]:
        """What it would yield is thrown away at the beginning of the next turn."""
        if milliseconds:
            self.sleep.until_something_can_happen()
        return iter(())

    def connect_known(self: Any) -> Iterator[bool]:
        _attempts[self.peer] = self
        try:
            yield from connect(self)
        finally:
            _attempts.pop(self.peer, None)

    def run_known(self: Any) -> Any:
        self.moved = bool(self._async)
        return run(self)

    ASYNC.moved = False
    Reactor.__init__, Reactor._wait_for_io = begin_with_sleep, wait_for_io
    Protocol.connect, ASYNC.run = connect_known, run_known
