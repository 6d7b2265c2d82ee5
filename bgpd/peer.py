"""One neighbor as the speaker runs it: the state of its session and its Adj-RIB-Out. No I/O; time is an argument.

**What "sent" rests on.** The engine reports each message *before* it writes it, so the report proves nothing by
itself. But the reports carry the header, so the sum of their lengths since the TCP connection came up is the exact
place in the byte stream at which each UPDATE ends. The kernel says how much of that stream the peer's TCP has
acknowledged (``tcpi_bytes_acked`` of tcp_info, asked through sock_diag(7)). An UPDATE counts as sent when the peer's
kernel has acknowledged its last byte. Considered and refused: the engine's acknowledgement of the command (comes
before the UPDATE, and comes with the session down too); its counters (they count messages, not prefixes, and also
before the write); an empty socket queue (it is also empty between the report and the write); bytes handed to the
network (a lost segment is sent again 200 ms later, and by then the VIP behind a withdrawal may be gone).
"""

from __future__ import annotations

import contextlib

import msgspec

from announcer.model.bgp import Neighbor, PeerObserved, PeerState
from bgpd import wire
from bgpd.adj_rib_out import AdjRibOut
from bgpd.bfd import BfdState
from bgpd.commands import Command, EndOfRibCommand
from bgpd.diagnosis import from_nothing
from bgpd.end_of_rib import EndOfRibMarkers
from bgpd.families import Carriage, Sibling, agree
from bgpd.protocol import Message, StateChanged

_STATES = {
    "OPENSENT": PeerState.OPEN_SENT,
    "OPENCONFIRM": PeerState.OPEN_CONFIRM,
}


class Peer:
    """Changes by events (``connected``, ``message``, …), answers with commands and with what an agent may know."""

    def __init__(self, neighbor: Neighbor, *, now: float, wall: float, sibling: Sibling = lambda *_: None) -> None:
        """Down since ``now`` (CLOCK_MONOTONIC seconds), which is ``wall`` on the Unix clock. ``sibling``: see there."""
        self.neighbor = neighbor
        self.rib = AdjRibOut(peer=neighbor.address, internal=neighbor.internal, local_asn=neighbor.local_asn)
        self.state = PeerState.IDLE
        self.since = wall
        self.down_since: float | None = now
        self.session = 0
        self.markers = EndOfRibMarkers()
        self.bfd = BfdState.UNKNOWN
        self.carriage = Carriage()
        self.last_error: str | None = None
        self.diagnosis = ""  # what the kernel says of the present attempt at a session, see bgpd.diagnosis
        self.updates_sent = 0
        self.stream = 0  # bytes that the engine has written, or is about to write, to the present connection
        self._offer = wire.Offer()
        self._sibling = sibling

    def inherit(self, old: Peer) -> None:
        """Take over from the same neighbor before its configuration changed: its routes, not its session."""
        self.session = self.rib.session = old.session
        self.updates_sent = old.updates_sent
        self.markers.wanted = old.markers.wanted
        if old.neighbor.address == self.neighbor.address:
            self.bfd = old.bfd  # that session goes on
        for route in old.rib.wanted():
            self.rib.want(route)

    # --- the agent's side ---------------------------------------------------------------------------------------

    def want_end_of_rib(self, session: int) -> bool:
        """Have End-of-RIB sent in ``session``. False if that is not the present one.

        From then on the speaker does so by itself in every later session: the routes of the agent were complete once,
        and the speaker keeps them, so a session that comes back while no agent is there is completed all the same.
        """
        if not self.rib.up or session != self.session:
            return False
        self.markers.want()
        return True

    @property
    def end_of_rib_taken(self) -> bool:
        """True if the engine took End-of-RIB for every family of the present session."""
        return self.markers.taken

    def observed(self) -> PeerObserved:
        """What an agent may know."""
        return msgspec.structs.replace(self.outline(), rib=self.rib.entries())

    def outline(self) -> PeerObserved:
        """The same without the Adj-RIB-Out."""
        return PeerObserved(
            neighbor=self.neighbor,
            state=self.state,
            since=self.since,
            down_since=self.down_since,
            session=self.session,
            end_of_rib=self.markers.done,
            last_error=self.last_error,
            updates_sent=self.updates_sent,
            unusable=self.carriage.unusable,
            bfd=self.bfd.value if self.neighbor.bfd is not None else None,
        )

    # --- the engine's side --------------------------------------------------------------------------------------

    def next_command(self) -> Command | None:
        """What to tell the engine next, None if there is nothing now."""
        if not self.rib.up:
            return None
        if batch := self.rib.next_batch():
            return batch
        family = self.markers.due
        return EndOfRibCommand(self.neighbor.address, family, self.session) if family and self.rib.settled else None

    @property
    def end_of_rib_due(self) -> bool:
        """True if End-of-RIB is all that is missing in the present session."""
        return self.markers.due is not None and self.rib.settled

    def state_changed(self, event: StateChanged, *, now: float, wall: float) -> None:
        """``connected``, ``up`` or ``down`` as the engine reports it."""
        if event.state == "connected":
            self.stream = 0
            self._offer = wire.Offer()
        elif event.state == "up":
            self._up(event, wall)
        elif event.state == "down":
            self.last_error = self._why_down(event.reason)
            self.down(now=now, wall=wall)

    def fsm_changed(self, state: str, wall: float) -> None:
        """A state of the engine below Established. It calls waiting for TCP idle; RFC 4271 does not."""
        if not self.rib.up and self.state is not PeerState.ESTABLISHED:
            self._enter(_STATES.get(state, self._without_tcp), wall)

    def waits(self, wall: float, *, listens: bool) -> bool:
        """The engine ``listens`` for this passive peer, or cannot: it does not say so itself. True if that is news."""
        state = PeerState.ACTIVE if listens else PeerState.IDLE
        if self.state is state or self.state not in (PeerState.IDLE, PeerState.ACTIVE):
            return False
        self._enter(state, wall)
        return True

    @property
    def _without_tcp(self) -> PeerState:
        """What RFC 4271 section 8.2.2 calls it if there is no TCP connection yet: we connect, or the peer is to."""
        return PeerState.ACTIVE if self.neighbor.passive else PeerState.CONNECT

    def message(self, event: Message) -> None:
        """A BGP message that the engine writes or has read.

        Raises ValueError if one that the engine wrote is malformed. What a peer sends never raises: the engine judges
        it, and one peer must not cost the others their sessions.
        """
        if event.kind == wire.NOTIFICATION:
            text = wire.describe_notification(event.body)
            self.last_error = f"{'sent' if event.sent else 'received'} NOTIFICATION: {text}"
        if not event.sent:
            self.diagnosis = ""  # it gets through
            if event.kind == wire.OPEN:
                with contextlib.suppress(ValueError):
                    self._offer = wire.parse_open(event.body)
            return
        self.stream += event.size
        if event.kind == wire.UPDATE:
            self._update_emitted(wire.parse_update(event.body))

    def received(self, offset: int) -> bool:
        """The peer's TCP has acknowledged the stream up to ``offset``. True if that changed anything."""
        changed = self.rib.left(offset)
        return self.markers.received(offset) or changed

    @property
    def established(self) -> bool:
        """True while there is a session."""
        return self.state is PeerState.ESTABLISHED

    @property
    def awaits_receipt(self) -> bool:
        """True if something was written that the peer's TCP is not yet known to have."""
        return self.rib.up and (self.rib.leaving or self.markers.under_way)

    def down(self, *, now: float, wall: float, engine_lost: bool = False) -> None:
        """The session is gone."""
        if self.rib.up or self.down_since is None:
            self.down_since = now
        if engine_lost:
            self.rib.engine_lost()
        else:
            self.rib.session_down()
        self.markers.end()
        self.carriage = Carriage()
        self._enter(PeerState.IDLE if engine_lost else self._without_tcp, wall)

    def _why_down(self, reason: str) -> str:
        """The engine's reason, unless we know better: it calls every end of a TCP connection "closing connection"."""
        if self.last_error and "NOTIFICATION" in self.last_error:
            return self.last_error
        if self.diagnosis:
            return self.diagnosis
        if reason and reason != "closing connection":
            return reason
        if self.state is PeerState.ESTABLISHED:
            return "the TCP connection was closed"
        return from_nothing(self.neighbor)

    def _up(self, event: StateChanged, wall: float) -> None:
        self.session += 1
        self.down_since = None
        local = event.local or self.neighbor.local_address
        self.carriage = agree(self.neighbor, self._offer, local, self._sibling)
        # It is up, but what it was configured for it does not do: that is worth saying where errors are looked for.
        self.last_error = "; ".join(self.carriage.unusable.values()) or None
        self._enter(PeerState.ESTABLISHED, wall)
        self.rib.session_up(self.session, self.carriage.next_hops)
        self.markers.begin(self.session, self.carriage.negotiated)

    def _update_emitted(self, update: wire.Update) -> None:
        self.updates_sent += 1
        if update.marked is not None:
            self.markers.emitted(update.marked, self.stream)
        else:
            self.rib.emitted(update, self.stream)

    def _enter(self, state: PeerState, wall: float) -> None:
        if state is not self.state:
            self.state, self.since = state, wall
