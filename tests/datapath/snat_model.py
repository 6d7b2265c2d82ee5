"""Who has which port, as ``bpf/lb_snat_ports.h`` has it: the rules in Python, without a kernel.

Time is in units of the programs' coarse clock. A flow is named by its client's port, all else being equal. There are so
few ports that a new flow tries all of them, and each of them in the end under pressure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from announcer.model.net import Protocol
from datapath.abi import SnatState

NOTHING = SnatState(0)
TCP, OTHER, CLOSING, NEW, NEW_PRESSED, CLOSED, CLOSED_PRESSED = 8000, 300, 240, 30, 5, 60, 2


@dataclass
class Flow:
    """``client`` and ``backend``: what each side has said. ``seen``: when either last said anything."""

    port: int
    seen: int
    client: SnatState = NOTHING
    backend: SnatState = NOTHING

    @property
    def closed(self) -> bool:
        """It was broken off, or has ended on both sides."""
        return bool((self.client | self.backend) & SnatState.RST or self.client & self.backend & SnatState.FIN)

    def life(self, protocol: Protocol, pressed: bool) -> int:
        """For how long it may be silent."""
        if self.closed:
            return CLOSED_PRESSED if pressed else CLOSED
        if not self.backend & SnatState.ESTABLISHED:
            return NEW_PRESSED if pressed else NEW
        if (self.client | self.backend) & SnatState.FIN:
            return CLOSING
        return TCP if protocol is Protocol.TCP else OTHER


@dataclass
class Ports:
    """The flows towards one backend over ``ports`` of a node."""

    protocol: Protocol
    ports: range
    now: int = 0
    flows: dict[int, Flow] = field(default_factory=dict)

    def over(self, pressed: bool) -> set[int]:
        """Clients whose flows are over."""
        return {
            client for client, flow in self.flows.items() if self.now - flow.seen > flow.life(self.protocol, pressed)
        }

    def is_close(self) -> bool:
        """Some flow is so near to the end of its life that it is a matter of a moment whether it is over."""
        lives = [(flow, flow.life(self.protocol, pressed)) for flow in self.flows.values() for pressed in (False, True)]
        return any(abs(self.now - flow.seen - life) <= 3 and self.now != flow.seen for flow, life in lives)

    def may_take(self, client: int) -> set[int]:
        """The ports from which a packet of this client may leave; none: it is dropped."""
        if client in self.flows:
            return {self.flows[client].port}
        taken = {flow.port for other, flow in self.flows.items() if other not in self.over(pressed=True)}
        return set(self.ports) - taken

    def asked(self, client: int, port: int, flags: str = "", hears: bool = False) -> None:
        """A packet of the client left from ``port``. ``hears``: it acknowledges what the backend said."""
        for other in [other for other, flow in self.flows.items() if flow.port == port and other != client]:
            del self.flows[other]
        flow = self.flows.setdefault(client, Flow(port, self.now))
        if flags == "S" and flow.closed:
            flow.client = flow.backend = NOTHING
        elif flow.backend & SnatState.ANSWERED and (hears or self.protocol is not Protocol.TCP):
            flow.client |= SnatState.ESTABLISHED
            flow.backend |= SnatState.ESTABLISHED
        flow.client |= _ends(flags)
        flow.seen = self.now

    def answered(self, port: int, flags: str = "") -> int | None:
        """A packet of the backend came to ``port``: which client gets it."""
        client = next((client for client, flow in self.flows.items() if flow.port == port), None)
        if client is not None:
            flow = self.flows[client]
            if not flow.backend & SnatState.ESTABLISHED:
                flow.backend |= SnatState.ANSWERED
            flow.backend |= _ends(flags)
            flow.seen = self.now
        return client

    def swept(self) -> None:
        """User space came by."""
        for client in self.over(pressed=False):
            del self.flows[client]


def _ends(flags: str) -> SnatState:
    fin = SnatState.FIN if "F" in flags else NOTHING
    return fin | (SnatState.RST if "R" in flags else NOTHING)
