"""In which of its four states a VIP is, and the one reason if it is not announced."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.bgp import PeerState
from announcer.model.desired import Reason
from announcer.model.net import Family, IPAddress, IPNetwork, around
from announcer.plan import held_until
from announcer.status.sight import Sight


class VipState(StrEnum):
    """``Announced``: some peer holds it. ``Programmed``: proven, but no peer was told. ``Draining``: on its way out."""

    ANNOUNCED = "Announced"
    PROGRAMMED = "Programmed"
    WITHHELD = "Withheld"
    DRAINING = "Draining"


class VipSight(msgspec.Struct, frozen=True, kw_only=True):
    """State and reason of one VIP, and the peers that hold a route to it."""

    state: VipState
    reason: Reason | None
    detail: str
    peers: tuple[str, ...]


def see_vip(sight: Sight, vip: IPAddress) -> VipSight:
    """The state of ``vip``; for one that nothing claims any more, ``Draining`` or ``Withheld``."""
    decision = sight.desired.vips.get(vip)
    peers = holding_peers(sight, vip)
    if decision is None or decision.reason is not None:
        reason = decision.reason if decision is not None else Reason.SERVICE_DELETED
        detail = decision.detail if decision is not None else "no Service claims this address"
        state = VipState.DRAINING if peers or _is_draining(sight, vip) else VipState.WITHHELD
        return VipSight(state=state, reason=reason, detail=detail, peers=peers)
    if peers:
        return VipSight(state=VipState.ANNOUNCED, reason=None, detail=decision.detail, peers=peers)
    reason, detail = _why_not(sight, vip)
    proven = _is_proven(sight, vip)
    state = VipState.PROGRAMMED if proven else VipState.WITHHELD
    return VipSight(state=state, reason=reason, detail=detail, peers=())


def holding_peers(sight: Sight, vip: IPAddress) -> tuple[str, ...]:
    """Established peers that were sent a route to ``vip`` and not yet its withdrawal."""
    prefixes = around(vip, sight.lengths)
    found: list[str] = []
    for name, peer in sorted(sight.observed.bgp.peers.items()):
        entries = [peer.rib.get(nlri) for nlri in prefixes] if peer.state is PeerState.ESTABLISHED else []
        if any(entry is not None and (entry.held or entry.withdrawing) for entry in entries):
            found.append(name)
    return tuple(found)


def route_reason(sight: Sight, peer_name: str, nlri: IPNetwork) -> tuple[Reason | None, str]:
    """Why a peer does not hold a route that is desired for it; None if it does."""
    peer = sight.observed.bgp.peers.get(peer_name)
    if not sight.observed.bgp.reachable:
        return Reason.PEER_NOT_ESTABLISHED, "the speaker does not answer"
    if peer is None:
        return Reason.PEER_NOT_ESTABLISHED, "the speaker does not run this neighbor yet"
    if peer.state is not PeerState.ESTABLISHED:
        return Reason.PEER_NOT_ESTABLISHED, peer.last_error or f"the session is {peer.state}"
    if Family.of(nlri) in peer.unusable:
        return Reason.FAMILY_NOT_CARRIED, peer.unusable[Family.of(nlri)]
    entry = peer.rib.get(nlri)
    if entry is not None and entry.sent and not entry.withdrawing:
        return None, ""
    if entry is not None and not entry.withdrawing:
        known = "; until then the peer has it with the attributes before" if entry.replacing else ""
        return Reason.PEER_NOT_ESTABLISHED, f"given to the engine, not sent yet{known}"
    wish = sight.desired.rib.get(peer_name, {}).get(nlri)
    if wish is not None and wish.is_aggregate and nlri not in sight.observed.datapath.guards:
        forwarder = sight.observed.datapath.forwarder
        if forwarder is not None:
            return Reason.NOT_PROVEN, f"{forwarder.name} drops no packets to addresses of the aggregate that are no VIP"
        return Reason.NOT_PROVEN, "packets to addresses of the aggregate that are no VIP are not dropped yet"
    return Reason.NOT_PROVEN, "not announced yet"


def _is_draining(sight: Sight, vip: IPAddress) -> bool:
    return sight.observed.draining.get(vip, 0.0) > sight.now


def _is_proven(sight: Sight, vip: IPAddress) -> bool:
    proof = sight.observed.proofs.get(vip)
    return proof is not None and proof.ok


def _why_not(sight: Sight, vip: IPAddress) -> tuple[Reason, str]:
    """Why a VIP that may be announced is not: exactly one reason, the first that applies on the way to the peer."""
    if not sight.desired.synced:
        return Reason.SOURCES_NOT_SYNCED, "the source has not delivered its first complete state"
    if sight.observed.datapath.problem:
        return Reason.DATAPATH_ERROR, sight.observed.datapath.problem
    proof = sight.observed.proofs.get(vip)
    if proof is None:
        forwarder = sight.observed.datapath.forwarder
        waits = f"; {forwarder.name} is given time for its rules" if forwarder is not None and forwarder.healthy else ""
        return Reason.NOT_PROVEN, f"no proof was made yet{waits}"
    if not proof.ok:
        return Reason.NOT_PROVEN, proof.problem
    until = held_until(sight.observed, vip)
    if until is not None and until > sight.now:
        flaps = sight.observed.damping[vip].flaps
        return Reason.DAMPED, f"its proof failed {flaps} times lately; held back for another {until - sight.now:.1f} s"
    decision = sight.desired.vips[vip]
    for name in sorted(sight.desired.neighbors):
        for nlri in sight.desired.rib.get(name, {}).keys() & set(decision.routes):
            reason, detail = route_reason(sight, name, nlri)
            if reason is not None:
                return reason, f"peer {name}: {detail}"
    return Reason.NOT_PROVEN, "not announced yet"
