"""All neighbors and the dialogue with the engine, put together. No I/O; time is an argument.

The shell (``bgpd.speaker``) carries bytes between this and the engine, asks the kernel what peers have received, and
talks to the agent. Whatever happens moves ``version``; whatever an agent could notice moves ``news``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

import msgspec

from announcer.model.bgp import Neighbor
from announcer.model.errors import TargetError
from announcer.model.net import IPAddress
from announcer.model.observed import BgpObserved
from bgpd.bfd import BfdState
from bgpd.commands import Batch, Command, EndOfRibCommand, Ping, Teardown
from bgpd.diagnosis import from_low_ttl
from bgpd.families import Sibling
from bgpd.peer import Peer
from bgpd.protocol import Answered, Dialogue, Event, FsmChanged, Message, StateChanged
from bgpd.refusal import Cause, Refusal

log = logging.getLogger("lockstep.speaker")

#: The engine is asked for a sign of life when it has said nothing for so long.
PING_SECONDS = 1.0
#: And that much earlier, if there is something to do anyway: it is not worth another waking.
_EARLY_SECONDS = 0.05
_SILENT = "ExaBGP does not answer"


@dataclass(frozen=True)
class Now:
    """The same moment on two clocks: CLOCK_MONOTONIC for decisions, Unix time for people. Seconds."""

    monotonic: float
    wall: float


class Core:
    """The speaker without its I/O."""

    def __init__(self, sibling: Sibling = lambda *_: None) -> None:
        """No neighbors, no engine. ``sibling`` looks up next hops, see :mod:`bgpd.families`."""
        self._sibling = sibling
        self.peers: dict[str, Peer] = {}
        self.problem = ""
        self.version = 0
        self._unnoticed = 0
        self._by_address: dict[IPAddress, Peer] = {}
        self._dialogue: Dialogue | None = None
        self._urgent: list[Batch] = []
        self._teardowns: list[IPAddress] = []
        self.forwarding_kept = False
        self.engine_restarts: dict[str, int] = {}  # by cause
        self.engine_resumptions = 0
        self.clock_steps = 0
        self.strangers = 0  # connections that were reset, see bgpd.listener
        self.held = False  # while the engine is told to reload, it is given nothing to send

    # --- neighbors ----------------------------------------------------------------------------------------------

    def set_neighbors(self, neighbors: Iterable[Neighbor], now: Now) -> None:
        """Run exactly these. A neighbor that stays the same keeps everything; a changed one keeps what is wanted."""
        self.peers = {neighbor.name: self._peer_for(neighbor, now) for neighbor in neighbors}
        self._by_address = {peer.neighbor.address: peer for peer in self.peers.values()}
        self.version += 1

    def _peer_for(self, neighbor: Neighbor, now: Now) -> Peer:
        same = self._by_address.get(neighbor.address)
        if same is not None and same.neighbor.same_session(neighbor):
            same.neighbor = neighbor  # at most another name or BFD, which the engine does not even notice
            if neighbor.bfd is None:
                same.bfd = BfdState.UNKNOWN
            return same
        peer = Peer(neighbor, now=now.monotonic, wall=now.wall, sibling=self._sibling)
        if old := self.peers.get(neighbor.name):
            peer.inherit(old)
        return peer

    def at(self, address: IPAddress) -> Peer | None:
        """The peer with this address."""
        return self._by_address.get(address)

    def observed(self) -> BgpObserved:
        """Everything an agent may know."""
        peers = {name: peer.observed() for name, peer in self.peers.items()}
        return msgspec.structs.replace(self.outline(), peers=peers)

    def outline(self) -> BgpObserved:
        """The same without the peers."""
        return BgpObserved(
            reachable=True,
            problem=self.problem,
            forwarding_kept=self.forwarding_kept,
            engine_restarts=dict(self.engine_restarts),
            engine_resumptions=self.engine_resumptions,
            clock_steps=self.clock_steps,
            strangers=self.strangers,
        )

    # --- BFD ----------------------------------------------------------------------------------------------------

    def bfd_changed(self, address: IPAddress, state: BfdState) -> None:
        """The BFD session with ``address`` has entered ``state``. One that was up and is not takes BGP with it.

        One that never was up does not: then the peer does not run BFD (yet), and says so by silence (RFC 5882 3.2).
        """
        peer = self._by_address.get(address)
        if peer is None or peer.neighbor.bfd is None:
            return
        before, peer.bfd = peer.bfd, state
        if before is BfdState.UP and state is BfdState.DOWN:
            peer.diagnosis = "BFD: the peer does not answer any more, or says that it lost us"
            if peer.established and address not in self._teardowns:
                self._teardowns.append(address)
        self.version += 1

    def bfd_unknown(self, problem: str) -> None:
        """No daemon runs BFD now, which says nothing of any peer."""
        for peer in self.peers.values():
            peer.bfd = BfdState.UNKNOWN
            if peer.neighbor.bfd is not None and not peer.established:
                peer.last_error = f"BFD does not run: {problem}"
        self.version += 1

    # --- the engine ---------------------------------------------------------------------------------------------

    def engine_connected(self, now: Now) -> None:
        """A new engine's helper has connected."""
        self._dialogue = Dialogue(now=now.monotonic)
        self._urgent.clear()
        self._teardowns.clear()
        self.problem = ""
        self.version += 1

    def engine_lost(self, now: Now, problem: str) -> None:
        """The engine is gone and every session with it."""
        self._dialogue = None
        self._urgent.clear()
        self._teardowns.clear()
        self.problem = problem
        for peer in self.peers.values():
            peer.last_error = problem
            peer.down(now=now.monotonic, wall=now.wall, engine_lost=True)
        self.version += 1

    def peer_refused(self, refusal: Refusal) -> None:
        """The engine reset connections of somebody where it waits for passive peers."""
        if refusal.cause is Cause.STRANGER:
            log.info("reset %d connections of strangers, the last from %s", refusal.times, refusal.address)
            self.strangers += refusal.times
        elif (peer := self._by_address.get(ip_address(refusal.address))) is not None and not peer.established:
            peer.diagnosis = peer.last_error = from_low_ttl()
        self.version += 1

    @property
    def news(self) -> int:
        """Moves with whatever an agent could notice. ``version`` also does when the engine has answered a ping."""
        return self.version - self._unnoticed

    @property
    def engine_ready(self) -> bool:
        """True while there is an engine to talk to."""
        return self._dialogue is not None

    @property
    def question(self) -> float | None:
        """As ``Dialogue.question``; None without an engine."""
        return self._dialogue.question if self._dialogue is not None else None

    def engine_silent(self, silent: bool) -> None:
        """Whether the engine owes answers for longer than usual."""
        text = _SILENT if silent else ""
        if self._dialogue is not None and self.problem in ("", _SILENT) and self.problem != text:
            self.problem = text
            self.version += 1

    def engine_resumed(self) -> None:
        """The engine had been stopped, and was told to go on."""
        self.engine_resumptions += 1
        self.version += 1

    def pause(self, now: Now) -> float:
        """Seconds until there is a command to give though nothing happens: a ping. Infinite if none is to come."""
        dialogue = self._dialogue
        if dialogue is None or dialogue.owed or self.held:
            return math.inf
        return max(0.0, PING_SECONDS - dialogue.idle_for(now.monotonic))

    @property
    def quiet(self) -> bool:
        """True if the engine owes no answer and has written everything it was given."""
        under_way = any(peer.rib.under_way for peer in self.peers.values())
        return self._dialogue is None or (self._dialogue.owed == 0 and not under_way)

    def nothing_held(self) -> bool:
        """True if no peer holds a route of ours, as far as we know, nor could come to."""
        return not any(peer.rib.holds_any for peer in self.peers.values())

    @property
    def owed(self) -> int:
        """Commands that the engine has not answered yet."""
        return self._dialogue.owed if self._dialogue else 0

    def commands(self, now: Now) -> bytes:
        """What to write to the engine now: as much as the window allows, one line per peer in turn."""
        dialogue = self._dialogue
        if dialogue is None:
            return b""
        out = bytearray()
        while self._urgent and dialogue.room() > 0:
            out += dialogue.give(self._urgent.pop(), now.monotonic)
        # A teardown is answered at once, so nothing may be owed before it; and nothing is more urgent.
        while self._teardowns and dialogue.may(teardown := Teardown(self._teardowns[0])):
            out += dialogue.give(teardown, now.monotonic)
            del self._teardowns[0]
        if self.held or self._teardowns:
            return bytes(out)
        # A barrier that waits for its turn must not be overtaken for ever.
        gave = not (dialogue.owed and any(peer.end_of_rib_due for peer in self.peers.values()))
        while gave and dialogue.room() > 0:
            gave = False
            for peer in self.peers.values():
                if dialogue.room() > 0 and (line := self._next_line(dialogue, peer, now)):
                    out += line
                    gave = True
        if not dialogue.owed and dialogue.idle_for(now.monotonic) >= PING_SECONDS - _EARLY_SECONDS:
            out += dialogue.give(Ping(), now.monotonic)
        return bytes(out)

    def _next_line(self, dialogue: Dialogue, peer: Peer, now: Now) -> bytes:
        command = peer.next_command()
        if command is None or not dialogue.may(command):
            return b""
        if isinstance(command, EndOfRibCommand):
            peer.markers.told(command.family)
        return dialogue.give(command, now.monotonic)

    def receive(self, data: bytes, now: Now) -> None:
        """What the engine said. Raises TargetError if it makes no sense, ValueError if a BGP message does not."""
        if self._dialogue is None:
            raise TargetError("read from ExaBGP", detail="data before the helper connected")
        for event in self._dialogue.receive(data, now.monotonic):
            self._event(event, now)

    def _event(self, event: Event, now: Now) -> None:
        if isinstance(event, Answered):
            self._answered(event.command, event.ok)
        elif (peer := self._by_address.get(event.peer)) is None:
            return  # a neighbor that was just removed says goodbye
        elif isinstance(event, StateChanged):
            peer.state_changed(event, now=now.monotonic, wall=now.wall)
            log.info("peer %s %s%s", peer.neighbor.name, event.state, f": {peer.last_error}" if peer.last_error else "")
        elif isinstance(event, FsmChanged):
            peer.fsm_changed(event.state, now.wall)
        elif isinstance(event, Message):
            peer.message(event)
        self.version += 1

    def _answered(self, command: Command, ok: bool) -> None:
        if not ok:
            log.warning("the engine refused: %s", command.line().decode().strip()[:200])
        if isinstance(command, Ping):
            # It was given when nothing had been owed for seconds, so the engine has been through its loop since.
            over = [peer.rib.doubts_over() for peer in self.peers.values()]
            self._unnoticed += not any(over)
            return
        addressed = self._by_address.get(command.peer)
        if addressed is None or isinstance(command, Teardown):
            return
        if isinstance(command, EndOfRibCommand):
            addressed.markers.answered(command.family, command.session, ok)
        elif follow := addressed.rib.answered(command, ok):
            self._urgent.append(follow)
