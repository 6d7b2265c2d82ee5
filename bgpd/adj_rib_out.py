"""The Adj-RIB-Out of one neighbor: what the agent wants, what the engine was told, what went out. Pure.

Per prefix there are three views, and none is concluded from another:

- ``wanted``: the route that the agent wants, or None;
- ``told``: the command that is under way in the engine, or None;
- ``wire``: what the present session carried last, known from the bytes of the UPDATE itself.

One rule keeps the end state right: **while a command for a prefix is under way no other is given for it.** The engine
(ExaBGP 5.0.15) sorts what it has yet to send by attributes and not by time, so withdraw, announce, withdraw in one
batch may go out as withdraw, announce (measured).

Nothing is told while the session is down: the engine would queue an announcement and send it when the session comes up
even if it was withdrawn in between, because it suppresses withdrawals in the first batch of a session. What was under
way when a session ended is the one thing that can carry over; ``answered`` deals with it.

Nor is anything told of a family for which the session has no next hop: the engine would take the command, answer it,
and write nothing. Such routes wait here for a session that can carry them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec

from announcer.model.bgp import RibEntry, Route
from announcer.model.net import Family, IPAddress, IPNetwork
from bgpd.commands import BATCH_PREFIXES, Batch
from bgpd.slot import Slot, Told, Wire
from bgpd.wire import Update

#: How many prefixes one batch may look at to find some with equal attributes.
_SCAN_PREFIXES = 1000

#: Everything that one UPDATE can say only once: whatever a route has besides its prefix.
_attributes = attrgetter(*(name for name in Route.__struct_fields__ if name != "nlri"))


class AdjRibOut:
    """All prefixes of one neighbor. ``session`` numbers the present or the last session, 0 before the first."""

    def __init__(self, *, peer: IPAddress, internal: bool, local_asn: int) -> None:
        """Empty, session down. ``internal``: iBGP."""
        self._peer = peer
        self._internal = internal
        self._local_asn = local_asn
        self._slots: dict[IPNetwork, Slot] = {}
        self._dirty: dict[IPNetwork, None] = {}  # to be looked at by next_batch, oldest first
        self._flying: set[IPNetwork] = set()  # with a command under way
        self._doubtful: set[IPNetwork] = set()  # of those: answered, but which UPDATE is theirs cannot be told
        self._leaving: deque[tuple[int, IPNetwork]] = deque()
        self._touched: set[IPNetwork] = set()  # since the entries were last looked at, see changed()
        self._next_hops: dict[Family, IPAddress] = {}
        self.session = 0
        self.up = False

    # --- the agent's side ---------------------------------------------------------------------------------------

    def want(self, route: Route) -> None:
        """Have ``route`` announced, now or when the session comes up."""
        slot = self._slots.setdefault(route.nlri, Slot())
        if slot.wanted != route or slot.refused:
            slot.wanted, slot.refused = route, False
            self._dirty[route.nlri] = None
            self._touched.add(route.nlri)

    def unwant(self, nlri: IPNetwork) -> None:
        """Have ``nlri`` withdrawn. A prefix that is not known is withdrawn already."""
        if slot := self._slots.get(nlri):
            slot.wanted, slot.refused = None, False
            self._dirty[nlri] = None
            self._touched.add(nlri)
            self._forget_if_done(nlri, slot)

    def unwant_all(self) -> None:
        """Have everything withdrawn."""
        for nlri in list(self._slots):
            self.unwant(nlri)

    def wanted(self) -> list[Route]:
        """All routes that the agent wants."""
        return [slot.wanted for slot in self._slots.values() if slot.wanted is not None]

    def entries(self) -> dict[IPNetwork, RibEntry]:
        """Every prefix as the agent sees it.

        ``acknowledged`` while the session is down or cannot carry it: the speaker holds the route and is the one who
        will tell the engine, so there is nobody else whose acknowledgement could be waited for.
        """
        return {nlri: slot.entry(up=self._carries(nlri)) for nlri, slot in self._slots.items()}

    def changed(self) -> dict[IPNetwork, RibEntry | None]:
        """The entries, None for one that is gone, of all prefixes that something happened to since the last call.

        An entry may be what it was. Whatever is not named here is.
        """
        touched, self._touched = self._touched, set()
        return {nlri: self.entry(nlri) for nlri in touched}

    def entry(self, nlri: IPNetwork) -> RibEntry | None:
        """One prefix as the agent sees it, None if it is not there."""
        slot = self._slots.get(nlri)
        return slot.entry(up=self._carries(nlri)) if slot else None

    def refused(self, nlri: IPNetwork) -> bool:
        """True if the engine refused the last command for ``nlri``; it is not repeated before something changes."""
        slot = self._slots.get(nlri)
        return slot is not None and slot.refused

    def held_up(self, nlri: IPNetwork) -> bool:
        """True if an earlier command for ``nlri`` was taken but is not yet written: the peer does not read."""
        slot = self._slots.get(nlri)
        return slot is not None and slot.told is not None and slot.told.answered and not slot.told.emitted

    @property
    def settled(self) -> bool:
        """True if everything that is wanted stands in an UPDATE that was written in the present session."""
        return self.up and not self._flying and not any(self._needed(nlri) for nlri in self._dirty)

    # --- the engine's side --------------------------------------------------------------------------------------

    def next_batch(self) -> Batch | None:
        """The next command, None if there is nothing to tell now."""
        chosen: tuple[bool, int, Any] | None = None
        found: list[tuple[IPNetwork, Route]] = []
        for nlri in list(islice(self._dirty, _SCAN_PREFIXES)):
            needed = self._needed(nlri)
            if needed is None:
                del self._dirty[nlri]
                continue
            withdraw, route = needed
            key = (withdraw, nlri.version, _attributes(route))
            if chosen in (None, key):
                chosen = key
                found.append((nlri, route))
                del self._dirty[nlri]
            if len(found) == BATCH_PREFIXES:
                break
        if chosen is None:
            return None
        first, prefixes = found[0][1], tuple(nlri for nlri, _ in found)
        batch = Batch(
            peer=self._peer, withdraw=chosen[0], route=first, prefixes=prefixes,
            next_hop=first.next_hop or self._next_hops[Family.of(first.nlri)],
            session=self.session, internal=self._internal, local_asn=self._local_asn,
        )  # fmt: skip
        for nlri, route in found:
            self._slots[nlri].told = Told(batch, route)
        self._flying.update(prefixes)
        self._touched.update(prefixes)
        return batch

    def answered(self, batch: Batch, ok: bool) -> Batch | None:
        """The engine answered ``batch``. Returns a command that must follow at once, or None."""
        follow = self._follow(batch) if ok else None
        for nlri in batch.prefixes:
            slot = self._slots.get(nlri)
            if slot is None or slot.told is None or slot.told.batch is not batch:
                continue
            slot.told.answered = True
            slot.refused = not ok
            self._dirty[nlri] = None
            self._touched.add(nlri)
            if follow and nlri in follow.prefixes:
                slot.told = Told(follow, slot.told.route, repeated=True)
            elif not ok or not self.up:
                self._landed(nlri, slot)
            elif slot.told.repeated or batch.session != self.session:
                self._doubtful.add(nlri)
            elif slot.told.emitted:
                self._landed(nlri, slot)
        return follow

    def _follow(self, batch: Batch) -> Batch | None:
        """The command that makes good again what a session's end did to ``batch``, which was under way at that time.

        Carried out while the session was down, an announcement waits in the engine for the next: a withdrawal with the
        same attributes takes its place. Carried out in a later session, perhaps in part: the announcement is repeated.
        """
        if batch.withdraw:
            return None
        if not self.up:
            return msgspec.structs.replace(batch, withdraw=True, session=-1)
        wanted = tuple(n for n in batch.prefixes if (slot := self._slots.get(n)) and slot.wanted is not None)
        if batch.session == self.session or not wanted:
            return None
        return msgspec.structs.replace(batch, prefixes=wanted, session=self.session)

    def doubts_over(self) -> bool:
        """The engine has written whatever of an earlier session's commands it was going to write.

        False if there was no doubt.
        """
        doubtful = list(self._doubtful)
        for nlri in doubtful:
            self._dirty[nlri] = None  # before it lands, which may forget it
            self._landed(nlri, self._slots[nlri])
        return bool(doubtful)

    def emitted(self, update: Update, offset: int) -> None:
        """The engine writes ``update``; it ends at byte ``offset`` of the session's stream."""
        for withdrawn, prefixes in ((True, update.withdrawn), (False, update.announced)):
            for nlri in prefixes:
                # A prefix that nobody wants here was told just before the last session ended. It needs a withdrawal.
                slot = self._slots.setdefault(nlri, Slot())
                told = slot.told
                next_hop = told.batch.next_hop if told else None
                route = told.route if told else Route(nlri=nlri)
                slot.wire = Wire.after(slot.wire, route, withdrawn, offset, next_hop)
                self._leaving.append((offset, nlri))
                self._dirty[nlri] = None
                self._touched.add(nlri)
                if told and told.batch.withdraw == withdrawn:
                    told.emitted = True
                    if told.answered and nlri not in self._doubtful:
                        self._landed(nlri, slot)

    def left(self, offset: int) -> bool:
        """The peer's TCP has received the stream up to ``offset``. True if that changed anything."""
        changed = False
        while self._leaving and self._leaving[0][0] <= offset:
            at, nlri = self._leaving.popleft()
            slot = self._slots.get(nlri)
            if slot and slot.wire and slot.wire.received(at):
                changed = True
                self._touched.add(nlri)
                self._forget_if_done(nlri, slot)
        return changed

    @property
    def under_way(self) -> bool:
        """True if the engine was given something that it has not yet answered or not yet written."""
        return bool(self._flying)

    @property
    def holds_any(self) -> bool:
        """True if anything is wanted, or held by the peer, or may come to be."""
        return bool(self._slots)

    @property
    def leaving(self) -> bool:
        """True if something was written that the peer's TCP has not yet acknowledged, as far as we know."""
        return bool(self._leaving)

    def session_up(self, session: int, next_hops: Mapping[Family, IPAddress]) -> None:
        """A new session: the peer holds nothing of ours. ``next_hops``: "next hop self" in each family it carries."""
        self.session, self.up, self._next_hops = session, True, dict(next_hops)
        self._dirty = dict.fromkeys(self._slots)
        self._touched.update(self._slots)

    def session_down(self) -> None:
        """The session is gone, and with it everything that was said in it."""
        self.up = False
        self._leaving.clear()
        self._touched.update(self._slots)
        for nlri, slot in list(self._slots.items()):
            slot.wire, slot.refused = None, False
            if slot.told is None or slot.told.answered:
                self._landed(nlri, slot)
            else:
                slot.told.emitted = False  # what it said in this session, it will say again in the next

    def engine_lost(self) -> None:
        """The engine is gone: no answer will come any more."""
        for nlri in self._flying:
            self._slots[nlri].told = None
        self._flying.clear()
        self._doubtful.clear()
        self.session_down()

    # --- inside -------------------------------------------------------------------------------------------------

    def _carries(self, nlri: IPNetwork) -> bool:
        """True if the session is up and carries routes of this family."""
        return self.up and Family.of(nlri) in self._next_hops

    def _needed(self, nlri: IPNetwork) -> tuple[bool, Route] | None:
        """The command that ``nlri`` needs and may have now: whether it is a withdrawal, and its route."""
        slot = self._slots[nlri]
        if slot.refused or slot.told or not self._carries(nlri):
            return None
        if slot.wanted is None:
            return (True, slot.wire.route) if slot.wire and not slot.wire.withdrawn else None
        if slot.wire and not slot.wire.withdrawn and slot.wire.route == slot.wanted:
            return None
        return False, slot.wanted

    def _landed(self, nlri: IPNetwork, slot: Slot) -> None:
        """No command for ``nlri`` is under way any more."""
        slot.told = None
        self._touched.add(nlri)
        self._flying.discard(nlri)
        self._doubtful.discard(nlri)
        self._forget_if_done(nlri, slot)

    def _forget_if_done(self, nlri: IPNetwork, slot: Slot) -> None:
        gone = slot.wire is None or (slot.wire.withdrawn and slot.wire.left)
        if slot.wanted is None and slot.told is None and gone:
            del self._slots[nlri]
            self._dirty.pop(nlri, None)
