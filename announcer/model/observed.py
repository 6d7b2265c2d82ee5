"""What is so: read back from the kernel and from the speaker, never remembered from what we once sent."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.bgp import PeerObserved
from announcer.model.lb import DeviceObserved, Frontend, FrontendKey, MapUsage, Proof
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.steps import AnyStep


class ForwarderObserved(msgspec.Struct, frozen=True, kw_only=True):
    """Another program that forwards on this node in our place, by what it says of itself.

    ``url``: where it is asked; ``asked``: when last, in CLOCK_MONOTONIC seconds. ``problem`` is empty if ``healthy``.
    """

    name: str
    url: str
    healthy: bool
    problem: str = ""
    asked: float = 0.0


class DatapathObserved(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel's side of this node.

    ``devices``: every device that should carry our programs, whether or not it does. ``frontends``: the entries as they
    stand in the maps, their backends found by following the Maglev row. ``damaged``: entries that are there but wrong
    in themselves (a row that names a missing backend, a decapsulation entry that is gone), with what is wrong.
    ``guards``: aggregates of which unassigned addresses are dropped. ``adopted``: the maps were pinned already when
    this agent came, so what they hold has forwarded packets all the time.
    ``arrivals``: packets that routers have sent here for a VIP and that were balanced, since the maps were made; those
    that another node forwarded are not counted.
    ``problem``: why nothing can be served at all (programs not loaded), else empty.
    ``forwarder``: who forwards if not our programs; then there are no devices, ``frontends`` is what was decided and
    not what was read back, and ``attached`` is its word.
    """

    devices: dict[str, DeviceObserved] = {}
    frontends: dict[FrontendKey, Frontend] = {}
    damaged: dict[FrontendKey, str] = {}
    guards: frozenset[IPNetwork] = frozenset()
    adopted: bool = False
    maps: dict[str, MapUsage] = {}
    arrivals: int = 0
    problem: str = ""
    forwarder: ForwarderObserved | None = None

    @property
    def attached(self) -> bool:
        """True if the programs are attached to at least one device and to every one that is needed."""
        if self.forwarder is not None:
            return not self.problem and self.forwarder.healthy
        found = self.devices.values()
        return not self.problem and any(d.attached for d in found) and all(d.attached for d in found if d.needed)

    @property
    def complete(self) -> bool:
        """True if nothing is left to be attached."""
        if self.forwarder is not None:
            return True
        return self.attached and all(device.attached for device in self.devices.values())


class BgpObserved(msgspec.Struct, frozen=True, kw_only=True):
    """The speaker's side. ``reachable`` False: nobody knows, so nothing may be concluded from ``peers``.

    ``forwarding_kept``: what it tells peers with graceful restart about the time without a session, see
    :class:`~announcer.model.steps.DeclareForwarding`. ``engine_restarts``: how often the BGP engine was replaced since
    the speaker started, by cause; ``engine_resumptions``: how often it had been stopped and was told to go on.
    ``clock_steps``: how often the clock was set (not slewed) since then. ``strangers``:
    connections since then that were of no passive peer, and reset.
    """

    reachable: bool = False
    peers: dict[str, PeerObserved] = {}
    problem: str = ""
    forwarding_kept: bool = False
    engine_restarts: dict[str, int] = {}
    engine_resumptions: int = 0
    clock_steps: int = 0
    strangers: int = 0


class Damping(msgspec.Struct, frozen=True, kw_only=True):
    """A VIP that was withdrawn because its proof failed, ``flaps`` times in a row without a long good time between.

    ``since``: when the proofs began to fail that led to the last withdrawal; ``at``: when that was. CLOCK_MONOTONIC
    seconds.
    """

    flaps: int
    since: float
    at: float


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, the latest proof of each VIP, and the VIPs that are being drained.

    ``draining``: VIP to the CLOCK_MONOTONIC second at which its entries may go. ``shedding``: VIP to the second at
    which its routes, marked for a graceful shutdown, may be withdrawn. ``last_arrival``: when the datapath was last
    seen to have balanced a packet. ``damping``: VIPs whose proof failed lately, so that they come back more slowly.
    ``completed``: since this agent runs, some peer was told everything (End-of-RIB), so what peers hold is what this
    datapath serves.
    """

    datapath: DatapathObserved = DatapathObserved()
    bgp: BgpObserved = BgpObserved()
    proofs: dict[IPAddress, Proof] = {}
    draining: dict[IPAddress, float] = {}
    shedding: dict[IPAddress, float] = {}
    last_arrival: float | None = None
    completed: bool = False
    damping: dict[IPAddress, Damping] = {}


class OutcomeState(StrEnum):
    """How a step ended: ``done``; ``waiting`` (not yet, try when something changes); ``failed``."""

    DONE = "done"
    WAITING = "waiting"
    FAILED = "failed"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one step. ``retry`` has a meaning only for a failure: may the same step work later?

    ``proof`` is set by ``Verify`` alone, and then ``state`` is ``done`` if the proof is ok, else ``failed``.
    """

    step: AnyStep
    state: OutcomeState
    problem: str = ""
    retry: bool = True
    proof: Proof | None = None
