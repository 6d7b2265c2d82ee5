"""The lanes of a plan: a VIP on its way into service or out of it, a Pod CIDR, a route that nothing wants."""

from __future__ import annotations

import msgspec

from announcer.model.lb import Frontend
from announcer.model.net import IPAddress, host_prefix
from announcer.model.steps import (
    Announce,
    AnyStep,
    AwaitSent,
    Drain,
    ProgramFrontend,
    RemoveFrontend,
    Verify,
    Withdraw,
)
from announcer.plan.index import PeerRoute
from announcer.plan.view import View


def into_service(view: View, vip: IPAddress) -> list[AnyStep]:
    """Program what differs, prove it, announce. A VIP that is announced and stays unproven is withdrawn first."""
    lane = str(vip)
    wanted = view.wanted(vip)
    withdrawals = withdrawals_of_unproven(view, vip)
    steps: list[AnyStep] = [Withdraw(lane=lane, peer=peer, nlri=nlri) for peer, nlri in withdrawals]
    program = differing(view, vip)
    steps += [ProgramFrontend(lane=lane, frontend=frontend) for frontend in program]
    announcements = _announcements(view, vip)
    if program or proof_is_due(view, vip) or (announcements and view.proof_is_old(vip)):
        steps.append(verification(view, vip))
    steps += announcements
    outdated = [route for route in _outdated(view, vip) if route not in withdrawals]
    steps += [Withdraw(lane=lane, peer=peer, nlri=nlri) for peer, nlri in outdated]
    gone = sorted(key for key in view.present(vip) if key not in wanted)
    steps += [RemoveFrontend(lane=lane, key=key) for key in gone]
    return steps


def verification(view: View, vip: IPAddress) -> Verify:
    """Of all its frontends."""
    wanted = view.wanted(vip)
    return Verify(lane=str(vip), vip=vip, frontends=tuple(wanted[key] for key in sorted(wanted)))


def _outdated(view: View, vip: IPAddress) -> list[PeerRoute]:
    """Routes of an earlier configuration whose successors have been sent: make before break."""
    if not view.strays:
        return []
    return [route for route in view.covering(vip) if view.wish(route) is None and _may_go(view, route)]


def _may_go(view: View, route: PeerRoute) -> bool:
    return is_announced(view, route) and route not in view.unreplaced


def withdrawals_of_unproven(view: View, vip: IPAddress) -> list[PeerRoute]:
    """Routes that go because nothing behind them has been proven for longer than is forgiven."""
    failing = view.failing_for(vip)
    if failing is None or failing < view.settings.proof_grace:
        return []
    return [route for route in view.covering(vip) if is_announced(view, route) and not _has_other_proof(view, route)]


def is_announced(view: View, route: PeerRoute) -> bool:
    """The route was given to the engine and not taken back."""
    entry = view.entry(route)
    return entry is not None and not entry.withdrawing


def _has_other_proof(view: View, route: PeerRoute) -> bool:
    """Something else keeps this route up: a Pod CIDR of the same prefix, or another proven VIP inside the aggregate.

    One of an earlier configuration is kept up by the proven VIPs that still wait for the routes of the new one.
    """
    wish = view.wish(route)
    if wish is not None:
        return not wish.vips or any(view.proven(vip) for vip in wish.vips)
    if route not in view.unreplaced:
        return False
    side = view.index.sides[route[0]]
    return any(vip in route[1] and view.proven(vip) for nlri in side.unsent for vip in side.wishes[nlri].vips)


def differing(view: View, vip: IPAddress) -> list[Frontend]:
    """The frontends that stand in the kernel otherwise than they should, or not at all."""
    present = view.present(vip)
    damaged = view.observed.datapath.damaged
    wanted = view.wanted(vip)
    return [wanted[key] for key in sorted(wanted) if present.get(key) != wanted[key] or key in damaged]


def proof_is_due(view: View, vip: IPAddress) -> bool:
    """There is no good proof, or it is time for another."""
    proof = view.observed.proofs.get(vip)
    if proof is None or not proof.ok or not view.observed.datapath.attached:
        return True
    return vip in view.renewals


def _announcements(view: View, vip: IPAddress) -> list[AnyStep]:
    """What the peers lack of this VIP's routes.

    The barrier is that these steps stand behind ``Verify``, or behind a good and recent proof. A VIP whose proof is
    known to fail is not announced in hope: the lane ends at ``Verify`` then.
    """
    lane = str(vip)
    steps: list[AnyStep] = []
    for route in view.wished(vip):
        peer, nlri = route
        if not _is_missing(view, route) or view.unguarded(nlri):
            continue
        if is_announced(view, route) or not view.held(vip):
            steps.append(Announce(lane=lane, peer=peer, route=view.desired.rib[peer][nlri].route))
    return steps


def _is_missing(view: View, route: PeerRoute) -> bool:
    if not view.observed.bgp.reachable:
        return False
    entry, wish = view.entry(route), view.wish(route)
    return wish is not None and (entry is None or entry.withdrawing or entry.route != wish.route)


def out_of_service(view: View, vip: IPAddress) -> list[AnyStep]:
    """Add what may be added at once; take away only what no peer can still send packets to."""
    lane = str(vip)
    wanted, present = view.wanted(vip), view.present(vip)
    # A route that is wished for another reason (another VIP of the aggregate, a Pod CIDR) stays.
    leaving = [route for route in view.covering(vip) if view.wish(route) is None]
    steps: list[AnyStep] = [
        Withdraw(lane=lane, peer=peer, nlri=nlri) for peer, nlri in leaving if _may_go(view, (peer, nlri))
    ]
    additions = [frontend for frontend in differing(view, vip) if _only_adds(present.get(frontend.key), frontend)]
    changes = [frontend for frontend in differing(view, vip) if frontend not in additions]
    gone = sorted(key for key in present if key not in wanted)
    steps += [ProgramFrontend(lane=lane, frontend=frontend) for frontend in additions]
    if not changes and not gone:
        return steps
    steps += _waits(view, vip, leaving)
    steps += [ProgramFrontend(lane=lane, frontend=frontend) for frontend in changes]
    steps += [RemoveFrontend(lane=lane, key=key) for key in gone]
    return steps


def _only_adds(present: Frontend | None, wanted: Frontend) -> bool:
    """The frontend is new, or takes from other nodes what it did not, and nothing else."""
    if present is None:
        return True
    more = {*present.for_others} < {*wanted.for_others}
    return more and msgspec.structs.replace(present, for_others=wanted.for_others) == wanted


def _waits(view: View, vip: IPAddress, leaving: list[PeerRoute]) -> list[AnyStep]:
    """The steps that end the lane until nobody can send packets here any more."""
    lane = str(vip)
    until = view.observed.draining.get(vip)
    drain = Drain(lane=lane, vip=vip, until=view.now + view.settings.drain if until is None else until)
    unsent = pending(view, vip, leaving)
    if unsent:
        return [AwaitSent(lane=lane, withdrawals=tuple(unsent)), drain]
    return [drain] if until is None or until > view.now else []


def pending(view: View, vip: IPAddress, leaving: list[PeerRoute]) -> list[PeerRoute]:
    """Routes along which packets may still come.

    An entry stays in an Adj-RIB-Out until its withdrawal has left. With the speaker away nobody knows, and a peer that
    lost its session may hold routes that we have no record of: both are waited for.
    """
    if not view.observed.bgp.reachable:
        return [("speaker", host_prefix(vip))]
    known = {peer for peer, _ in leaving}
    neighbors = view.desired.neighbors
    stale = [name for name in sorted(neighbors) if name not in known and view.may_be_stale(neighbors[name])]
    return leaving + [(name, host_prefix(vip)) for name in stale]


def pod_cidr_lanes(view: View) -> list[AnyStep]:
    """Routes that need no proof: announced as soon as the sources are synced."""
    return [
        Announce(lane=str(nlri), peer=peer, route=view.desired.rib[peer][nlri].route)
        for peer in sorted(view.desired.rib)
        for nlri in sorted(view.index.sides[peer].unconditional, key=lambda nlri: (nlri.version, nlri))
        if _is_missing(view, (peer, nlri))
    ]


def stray_route_lanes(view: View) -> list[AnyStep]:
    """Withdraw whatever a neighbor holds that nothing wants and no VIP's lane has withdrawn already."""
    if not view.strays or not view.observed.bgp.reachable:
        return []
    covered = view.index.cover({nlri for _, nlri in view.strays})
    return [Withdraw(lane=str(nlri), peer=name, nlri=nlri) for name, nlri in view.strays if nlri not in covered]
