"""ExaBGP's outgoing RIB as far as its order matters, for tests of the Adj-RIB-Out: what it queues, and what goes out.

Modelled on what was measured of 5.0.15 with ``adj-rib-out false``: changes wait sorted by attributes, in the order
in which these first came; a batch takes them all; until the first batch of a session is out, withdrawals are dropped;
the end of a session empties the queue, but what is injected while the session is down waits for the next.
"""

from __future__ import annotations

from collections import deque

import msgspec

from announcer.model.bgp import Route
from announcer.model.net import Family, IPNetwork
from bgpd.commands import Batch
from bgpd.wire import Update


class EngineModel:
    """One engine with one peer."""

    def __init__(self) -> None:
        self.commands: deque[Batch] = deque()
        self.up = False
        self.rib_of_peer: dict[IPNetwork, Route] = {}
        self._queue: dict[bytes, tuple[Route, dict[IPNetwork, bool]]] = {}  # by the text of the attributes
        self._families: frozenset[Family] = frozenset()
        self._first = True
        self._done = 0

    def session_up(self, families: frozenset[Family]) -> list[Update]:
        """The session comes up; the first batch goes out at once if there is one. Of other families nothing goes."""
        self._families = families
        self.up, self._first, self.rib_of_peer = True, True, {}
        return self.write()

    def session_down(self) -> None:
        """The session ends."""
        self.up = False
        self._queue = {}

    def read_prefix(self) -> Batch | None:
        """Carry out one more prefix of the oldest command. The command if that was the last: it is answered then."""
        batch = self.commands[0]
        nlri = batch.prefixes[self._done]
        attributes = batch.line().split(b" attributes ")[1].split(b" nlri ")[0]
        self._queue.setdefault(attributes, (batch.route, {}))[1][nlri] = batch.withdraw
        self._done += 1
        if self._done < len(batch.prefixes):
            return None
        self._done = 0
        return self.commands.popleft()

    def write(self) -> list[Update]:
        """Everything queued goes out, one UPDATE per set of attributes and direction."""
        if not self.up or not self._queue:
            return []
        queue, self._queue = self._queue, {}
        updates = []
        for route, changes in queue.values():
            carried = {nlri: withdraw for nlri, withdraw in changes.items() if Family.of(nlri) in self._families}
            withdrawn = tuple(nlri for nlri, withdraw in carried.items() if withdraw and not self._first)
            announced = tuple(nlri for nlri, withdraw in carried.items() if not withdraw)
            pair = (Update(withdrawn, ()), Update((), announced))
            updates += [update for update in pair if update != Update()]
            for nlri in withdrawn:
                self.rib_of_peer.pop(nlri, None)
            self.rib_of_peer.update({nlri: msgspec.structs.replace(route, nlri=nlri) for nlri in announced})
        self._first = False
        return updates
