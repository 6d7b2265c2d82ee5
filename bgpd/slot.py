"""One prefix of an Adj-RIB-Out."""

from __future__ import annotations

from dataclasses import dataclass

from announcer.model.bgp import RibEntry, Route
from announcer.model.errors import BugError
from announcer.model.net import IPAddress
from bgpd.commands import Batch


@dataclass(slots=True)
class Told:
    """A command under way: taken when ``answered``, written when ``emitted``; over when both.

    ``repeated``: it repeats one that the engine may yet write, so that an UPDATE cannot be told to be this one's.
    """

    batch: Batch
    route: Route
    answered: bool = False
    emitted: bool = False
    repeated: bool = False


@dataclass(slots=True)
class Wire:
    """What an UPDATE of the present session said last.

    ``offset``: where in the stream it ends. ``left``: received. ``since``: where the first announcement ends
    after which nothing was withdrawn; ``held``: that was received, so the peer holds this route or one before it.
    """

    route: Route
    withdrawn: bool
    offset: int
    next_hop: IPAddress | None = None
    left: bool = False
    since: int = 0
    held: bool = False

    @classmethod
    def after(cls, before: Wire | None, route: Route, withdrawn: bool, offset: int, next_hop: IPAddress | None) -> Wire:
        """The next one, after what was said ``before`` in this session."""
        made = cls(route, withdrawn, offset, next_hop, since=offset)
        if before is not None and not before.withdrawn and not withdrawn:
            made.since, made.held = before.since, before.held
        return made

    def received(self, offset: int) -> bool:
        """The UPDATE that ends at ``offset`` was. True if that changed anything."""
        before = self.left, self.held
        self.left |= offset == self.offset
        self.held |= offset == self.since and not self.withdrawn
        return before != (self.left, self.held)


@dataclass(slots=True)
class Slot:
    """The three views of one prefix, see ``bgpd.adj_rib_out``. ``refused``: by the engine, not repeated."""

    wanted: Route | None = None
    told: Told | None = None
    wire: Wire | None = None
    refused: bool = False

    def entry(self, *, up: bool) -> RibEntry:
        """This prefix as an agent sees it. ``up``: the session is."""
        told, wire = self.told, self.wire
        if self.wanted is not None:
            carried = wire is not None and not wire.withdrawn and wire.route == self.wanted
            taken = told is not None and told.answered and not told.batch.withdraw and told.route == self.wanted
            sent = carried and told is None and wire is not None and wire.left
            next_hop = wire.next_hop if wire is not None and carried else None
            return RibEntry(
                route=self.wanted,
                acknowledged=not up or taken or carried,
                sent=sent,
                replacing=wire is not None and wire.held and not sent,
                next_hop=next_hop,
            )
        route = told.route if told else wire.route if wire else None
        if route is None:
            raise BugError("a prefix that nobody wants and nobody holds must have been forgotten")
        withdrawn = wire is not None and wire.withdrawn
        taken = told is not None and told.answered and told.batch.withdraw
        return RibEntry(route=route, withdrawing=True, acknowledged=taken or withdrawn, sent=False)
