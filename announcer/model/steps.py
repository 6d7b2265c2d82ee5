"""Steps: what a plan is made of. Data only, so that a plan can be printed, compared, fuzzed and replayed.

Every step belongs to a *lane*. Steps of one lane are carried out in order, and a step that fails or has to wait ends
its lane for this round; other lanes go on. So one VIP in trouble holds up no other.
"""

from __future__ import annotations

import msgspec

from announcer.model.bgp import Neighbor, Route
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import IPAddress, IPNetwork


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step"):
    """Base of all steps. ``lane`` is a VIP, a prefix, a peer, or a fixed word."""

    lane: str


# --- datapath ---------------------------------------------------------------------------------------------------


class AttachDevices(Step, frozen=True, tag="attach-devices"):
    """Attach the programs to every ingress device that should have them; leave alone those that already do.

    ``toward``: addresses of the peers. Traffic arrives where the peers are, so the devices towards them count as
    ingress devices when devices are found automatically.
    """

    toward: tuple[IPAddress, ...] = ()


class ProgramFrontend(Step, frozen=True, tag="program-frontend"):
    """Make the kernel hold this frontend with exactly these backends.

    Backends first, then the Maglev row, then the entry. Idempotent; an existing entry is switched over by one map
    update, so that no packet finds it half made.
    """

    frontend: Frontend


class Verify(Step, frozen=True, tag="verify"):
    """Prove a VIP: read its entries back, compare them with ``frontends``, run a synthetic packet for each of them."""

    vip: IPAddress
    frontends: tuple[Frontend, ...]


class RemoveFrontend(Step, frozen=True, tag="remove-frontend"):
    """Remove this frontend from the kernel, then the backends and rows that nothing uses any more."""

    key: FrontendKey


class GuardAggregate(Step, frozen=True, tag="guard-aggregate"):
    """Make the kernel drop packets to addresses of ``prefix`` that are no VIP, instead of sending them back.

    An aggregate draws in packets for addresses that nobody uses. Without a guard the node's default route returns them
    to the router, which returns them to the node, until their TTL is used up.
    """

    prefix: IPNetwork


class UnguardAggregate(Step, frozen=True, tag="unguard-aggregate"):
    """Leave packets to addresses of ``prefix`` that are no VIP to the kernel's routes again."""

    prefix: IPNetwork


# --- BGP --------------------------------------------------------------------------------------------------------


class ConfigureNeighbors(Step, frozen=True, tag="configure-neighbors"):
    """Make the speaker run exactly these neighbors. A neighbor that did not change keeps its session."""

    neighbors: tuple[Neighbor, ...]


class DeclareForwarding(Step, frozen=True, tag="declare-forwarding"):
    """Tell the speaker whether this node went on forwarding while a session was away (RFC 4724 section 3).

    ``kept`` False: the next OPEN has neither the Restart State nor the Forwarding State bit, and a graceful-restart
    helper drops what it kept at once.
    """

    kept: bool


class Announce(Step, frozen=True, tag="announce"):
    """Give a route to a peer. Allowed only behind the barrier (see ``announcer.plan``)."""

    peer: str
    route: Route


class Withdraw(Step, frozen=True, tag="withdraw"):
    """Take a route back from a peer."""

    peer: str
    nlri: IPNetwork


class EndOfRib(Step, frozen=True, tag="end-of-rib"):
    """Tell a peer that everything has been announced (RFC 4724 section 2)."""

    peer: str
    session: int


# --- waiting ----------------------------------------------------------------------------------------------------


class AwaitSent(Step, frozen=True, tag="await-sent"):
    """Go on in this lane only when the withdrawal of these prefixes has left for every established peer."""

    withdrawals: tuple[tuple[str, IPNetwork], ...]


class Drain(Step, frozen=True, tag="drain"):
    """Go on in this lane only at ``until`` (CLOCK_MONOTONIC seconds): routers need a moment to act on a withdrawal."""

    vip: IPAddress
    until: float


class Shed(Step, frozen=True, tag="shed"):
    """Go on in this lane only at ``until`` (CLOCK_MONOTONIC seconds): routers move to another way (RFC 8326)."""

    vip: IPAddress
    until: float


class AwaitQuiet(Step, frozen=True, tag="await-quiet"):
    """Go on in this lane only when the datapath has balanced no packet for a while, or at ``until`` at the latest."""

    vip: IPAddress
    until: float


AnyStep = (
    AttachDevices
    | ProgramFrontend
    | Verify
    | RemoveFrontend
    | GuardAggregate
    | UnguardAggregate
    | ConfigureNeighbors
    | DeclareForwarding
    | Announce
    | Withdraw
    | EndOfRib
    | AwaitSent
    | Drain
    | Shed
    | AwaitQuiet
)
