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

from announcer.model.bgp import Neighbor, PeerObserved, PeerState
from announcer.model.net import IPAddress
from bgpd import wire
from bgpd.adj_rib_out import AdjRibOut
from bgpd.commands import Command, EndOfRibCommand
from bgpd.diagnosis import from_nothing
from bgpd.protocol import Message, StateChanged

_STATES = {
    "OPENSENT": PeerState.OPEN_SENT,
    "OPENCONFIRM": PeerState.OPEN_CONFIRM,
}


class Peer:
    """Changes by events (``connected``, ``message``, …), answers with commands and with what an agent may know."""

    def __init__(self, neighbor: Neighbor, *, now: float, wall: float) -> None:
        """Down since ``now`` (CLOCK_MONOTONIC seconds), which is ``wall`` on the Unix clock."""
        self.neighbor = neighbor
        self.rib = AdjRibOut(peer=neighbor.address, internal=neighbor.internal, local_asn=neighbor.local_asn)
        self.state = PeerState.IDLE
        self.since = wall
        self.down_since: float | None = now
        self.session = 0
        self.end_of_rib = 0
        self.last_error: str | None = None
        self.diagnosis = ""  # what the kernel says of the present attempt at a session, see bgpd.diagnosis
        self.updates_sent = 0
        self.local: IPAddress | None = neighbor.local_address
        self.stream = 0  # bytes that the engine has written, or is about to write, to the present connection
        self._eor_wanted = False
        self._eor_told = 0
        self._eor_taken = 0
        self._eor_offset: int | None = None
        self._family = True

    def inherit(self, old: Peer) -> None:
        """Take over from the same neighbor before its configuration changed: its routes, not its session."""
        self.session = self.rib.session = old.session
        self.updates_sent = old.updates_sent
        self._eor_wanted = old._eor_wanted
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
        self._eor_wanted = True
        return True

    @property
    def end_of_rib_taken(self) -> bool:
        """True if the engine took End-of-RIB for the present session."""
        return self._eor_taken == self.session and self.session > 0

    def observed(self) -> PeerObserved:
        """What an agent may know."""
        return PeerObserved(
            neighbor=self.neighbor,
            state=self.state,
            since=self.since,
            down_since=self.down_since,
            session=self.session,
            end_of_rib=self.end_of_rib,
            last_error=self.last_error,
            rib=self.rib.entries(),
            updates_sent=self.updates_sent,
        )

    # --- the engine's side --------------------------------------------------------------------------------------

    def next_command(self) -> Command | None:
        """What to tell the engine next, None if there is nothing now."""
        if not self.rib.up or self.local is None:
            return None
        if batch := self.rib.next_batch(self.local):
            return batch
        return EndOfRibCommand(self.neighbor.address, self.session) if self.end_of_rib_due else None

    @property
    def end_of_rib_due(self) -> bool:
        """True if End-of-RIB is all that is missing in the present session."""
        return self._eor_wanted and self._eor_told != self.session and self.rib.settled

    def end_of_rib_told(self) -> None:
        """The command for End-of-RIB was given to the engine."""
        self._eor_told = self.session

    def end_of_rib_answered(self, session: int, ok: bool) -> None:
        """The engine took or refused it. Refused: the session had just gone, the next one asks again."""
        if ok:
            self._eor_taken = session
        elif session == self._eor_told:
            self._eor_told = 0

    def state_changed(self, event: StateChanged, *, now: float, wall: float) -> None:
        """``connected``, ``up`` or ``down`` as the engine reports it."""
        if event.state == "connected":
            self.stream = 0
            self._family = True
        elif event.state == "up":
            self._up(event, wall)
        elif event.state == "down":
            self.last_error = self._why_down(event.reason)
            self.down(now=now, wall=wall)

    def fsm_changed(self, state: str, wall: float) -> None:
        """A state of the engine below Established. It calls waiting for TCP idle; RFC 4271 calls that Connect."""
        if not self.rib.up and self.state is not PeerState.ESTABLISHED:
            self._enter(_STATES.get(state, PeerState.CONNECT), wall)

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
                    self._family = wire.offers_ipv4_unicast(event.body)
            return
        self.stream += event.size
        if event.kind == wire.UPDATE:
            self._update_emitted(wire.parse_update(event.body))

    def received(self, offset: int) -> bool:
        """The peer's TCP has acknowledged the stream up to ``offset``. True if that changed anything."""
        changed = self.rib.left(offset)
        if self._eor_offset is not None and self._eor_offset <= offset:
            self.end_of_rib, self._eor_offset = self.session, None
            changed = True
        return changed

    @property
    def established(self) -> bool:
        """True while there is a session."""
        return self.state is PeerState.ESTABLISHED

    @property
    def awaits_receipt(self) -> bool:
        """True if something was written that the peer's TCP is not yet known to have."""
        return self.rib.up and (self.rib.leaving or self._eor_offset is not None)

    def down(self, *, now: float, wall: float, engine_lost: bool = False) -> None:
        """The session is gone."""
        if self.rib.up or self.down_since is None:
            self.down_since = now
        if engine_lost:
            self.rib.engine_lost()
        else:
            self.rib.session_down()
        self._eor_offset = None
        self._enter(PeerState.IDLE if engine_lost else PeerState.CONNECT, wall)

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
        self.local = event.local or self.neighbor.local_address
        self._eor_offset = None
        self._enter(PeerState.ESTABLISHED, wall)
        if self._family:
            self.last_error = None
            self.rib.session_up(self.session)
        else:
            self.last_error = "the peer did not offer IPv4 unicast, so no route can be sent (RFC 4760)"

    def _update_emitted(self, update: wire.Update) -> None:
        self.updates_sent += 1
        if update.end_of_rib:
            self._eor_offset = self.stream
        else:
            self.rib.emitted(update, self.stream)

    def _enter(self, state: PeerState, wall: float) -> None:
        if state is not self.state:
            self.state, self.since = state, wall
