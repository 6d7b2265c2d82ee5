"""What is put right inside the ExaBGP process before it starts. Version 5.0 only, which is what we depend on.

No setting of ExaBGP reaches any of them. Tests hold each to the wire, with a control that shows the fault without
it (``tests/bgpd/test_faults.py``, ``test_forwarding_bits.py``, ``test_flapping.py``, ``test_outgoing.py``,
``test_passive.py``, ``test_waiting.py``, ``test_unread.py``). What takes more than a function is in ``bgpd.listener``
and ``bgpd.waiting``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import copy
from inspect import isgenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

#: A session that lasted so many seconds was a real one, and may come back at once.
STEADY_SECONDS = 10.0
#: Some ten milliseconds' worth of work between two looks at the peers.
_ROUTES_AT_ONCE = 500


def run_on_monotonic_time() -> None:
    """Make ``time.time()`` immune to steps of the clock, in this process. Call it before ExaBGP is imported.

    ExaBGP measures hold and KEEPALIVE timers with it. A clock that is set forward by more than the hold time ends every
    session at once (NOTIFICATION 4/0); set back, it stops the KEEPALIVEs until the peers end them. It still begins with
    the time of day, so that dates mean something.
    """
    monotonic = time.monotonic
    offset = time.time() - monotonic()
    time.time = lambda: monotonic() + offset


def claim_only_what_is_kept(mark: Path) -> None:
    """Have the OPEN claim a restart and preserved forwarding (RFC 4724 section 3) only while ``mark`` exists.

    ExaBGP sets the Forwarding State bit of every family always, and the Restart State bit in the first OPEN after it
    started. Without either a helper drops at once what it kept, and the capability still protects the next restart.
    """
    from exabgp.bgp.message.open.capability.capabilities import Capabilities
    from exabgp.bgp.message.open.capability.capability import Capability

    original = Capabilities._graceful

    def graceful(self: Any, neighbor: Any, restarted: bool) -> None:
        kept = mark.exists()
        original(self, neighbor, restarted and kept)
        offered = self.get(Capability.CODE.GRACEFUL_RESTART)
        if offered is not None and not kept:
            offered.update(dict.fromkeys(offered, 0))

    Capabilities._graceful = graceful


def back_off_from_flapping() -> None:
    """Have a peer whose sessions end within ``STEADY_SECONDS`` wait longer each time: 0, 1, 2, 3, … up to 60 s.

    ExaBGP's own back-off is for peers that never come up: it begins anew with every session, so a peer that ends each
    one at once is connected to without a pause, thousands of times in a minute, each time with all routes (RFC 4271
    section 8.1.1, DampPeerOscillations). A session that lasted, or that we ended ourselves, is none to wait for.
    """
    from exabgp.reactor.delay import Delay
    from exabgp.reactor.peer import Peer

    original = Peer._close
    flapping: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def close(self: Any, message: str = "", error: str = "") -> None:
        established_at, asked = self.stats["complete"], self._teardown is not None
        original(self, message, error)
        if not established_at:
            return  # it was no session: the back-off of ExaBGP goes on
        if asked or time.time() - established_at >= STEADY_SECONDS:
            flapping.pop(self, None)
            return
        delay = flapping.setdefault(self, Delay())
        delay.increase()
        self._delay._time = max(self._delay._time, delay._time)

    Peer._close = close


def send_at_once() -> None:
    """Have connections that we open do without Nagle's algorithm (RFC 9293 section 3.7.4).

    ExaBGP turns it off only where a peer connects to us. With it a message waits as long as one before it is not
    acknowledged, and peers acknowledge up to 40 ms late: a route that is announced right after another change is late.
    """
    from exabgp.reactor.network import outgoing, tcp

    original = outgoing.create

    def create(*arguments: Any) -> Any:
        made = original(*arguments)
        tcp.nagle(made, "a peer")
        return made

    outgoing.create = create


def carry_bulks() -> None:
    """Have ExaBGP take many routes at once for less than half of what it would need.

    It copies each route that it is told, and each attribute of it, in case the next hop is "self" and there are
    several peers to replace it for. Our commands are for one peer and name the next hop, and attributes of routes that
    are to be sent are only read: a copy of the prefix is enough. And it turns to its peers after every 50 routes, so
    that no UPDATE carries more, though there would be room for a thousand.
    """
    from exabgp.bgp.neighbor import Neighbor
    from exabgp.reactor.asynchronous import ASYNC
    from exabgp.rib.change import Change

    original = Neighbor.remove_self

    def remove_self(self: Any, change: Any) -> Any:
        if change.nlri.nexthop.SELF:
            return original(self, change)
        return Change(copy(change.nlri), change.attributes)

    Neighbor.remove_self = remove_self
    ASYNC.LIMIT = _ROUTES_AT_ONCE


def carry_out_without_event_loop() -> None:
    """Have a command carried out as what it is, a generator.

    ExaBGP makes an event loop of asyncio for the commands of each turn, should one be a coroutine, and throws it away:
    that takes longer than the command.
    """
    from exabgp.reactor.asynchronous import ASYNC

    original = ASYNC.run

    def run(self: Any) -> Any:
        if not all(isgenerator(callback) for _, callback in self._async):
            return original(self)
        try:
            self._run_async().send(None)
        except StopIteration as end:
            return end.value
        raise RuntimeError("a generator cannot wait for an event loop")

    ASYNC.run = run


def report_unread() -> None:
    """Have an UPDATE reported as the bytes that it is, where that is all that was asked for.

    ExaBGP reads each one that it has just made, prefix by prefix, to report it, and then reports the bytes.
    """
    from exabgp.bgp.message import Message
    from exabgp.reactor.protocol import Protocol

    original = Protocol.send

    def send(self: Any, raw: bytes) -> Iterator[bool]:
        code = f"send-{Message.CODE.short(raw[18])}"
        api = self.neighbor.api
        if not api.get(code, False) or api["send-parsed"] or api["send-consolidate"]:
            as_ever: Iterator[bool] = original(self, raw)
            return as_ever
        return send_unread(self, raw, code)

    def send_unread(self: Any, raw: bytes, code: str) -> Iterator[bool]:
        self.peer.stats[code] += 1
        self._to_api("send", SimpleNamespace(ID=raw[18]), raw)
        yield from self.connection.writer(raw)

    Protocol.send = send


def change_while_waiting() -> None:
    """Have a passive peer that waits take another configuration, or a teardown, at once.

    ExaBGP has a turn for passive peers only while they have a connection. What was asked of one without would be done
    to its next session, after that has come up by the old configuration; and one that is passive no longer would never
    begin to connect.
    """
    from exabgp.reactor.peer import Peer

    def settle(peer: Any) -> None:
        if peer.neighbor["passive"] and peer.proto is None and peer._restart:
            peer._reset()
            peer._delay.reset()

    reestablish, teardown = Peer.reestablish, Peer.teardown

    def reestablish_at_once(self: Any, restart_neighbor: Any = None) -> None:
        reestablish(self, restart_neighbor)
        settle(self)

    def teardown_at_once(self: Any, code: int, restart: bool = True) -> None:
        teardown(self, code, restart)
        settle(self)

    Peer.reestablish, Peer.teardown = reestablish_at_once, teardown_at_once
