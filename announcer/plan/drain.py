"""The lane of a VIP whose node is taken out of service though the VIP works.

::

    Announce (GRACEFUL_SHUTDOWN) ─> Shed ─> Withdraw ─> AwaitSent ─> Drain ─> AwaitQuiet ─> RemoveFrontend

First the routes are marked, so that routers find another way while this one still works (RFC 8326); then they are
withdrawn; then nothing is touched until no packet has come for a while. Entries with backends on this node stay: other
nodes go on sending those their packets, until the cluster has taken the pods away as well.
"""

from __future__ import annotations

from announcer.model.bgp import PeerState, Route
from announcer.model.desired import Desired, Reason
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import IPAddress
from announcer.model.observed import Observed
from announcer.model.steps import (
    Announce,
    AnyStep,
    AwaitQuiet,
    AwaitSent,
    Drain,
    ProgramFrontend,
    RemoveFrontend,
    Shed,
    Verify,
    Withdraw,
)
from announcer.plan.index import PeerRoute
from announcer.plan.lanes import differing, is_announced, pending, proof_is_due, withdrawals_of_unproven
from announcer.plan.settings import PlanSettings
from announcer.plan.view import View


def drain_lane(view: View, vip: IPAddress) -> list[AnyStep]:
    """Everything that is left to do for ``vip``; empty if the node may go as far as it is concerned."""
    leaving = [route for route in view.covering(vip) if view.wish(route) is None]
    announced = [route for route in leaving if is_announced(view, route)]
    marked = {} if withdrawals_of_unproven(view, vip) else _marked(view, announced)
    shed = _shed(view, vip, marked)
    going = [route for route in announced if not shed or route not in marked]
    steps: list[AnyStep] = [Withdraw(lane=str(vip), peer=peer, nlri=nlri) for peer, nlri in going]
    steps += _keep_serving(view, vip, bool(announced))
    return steps + (shed or _tear_down(view, vip, leaving))


def drain_is_over(desired: Desired, observed: Observed, now: float, settings: PlanSettings | None = None) -> bool:
    """True if nothing is left to do for the drain of this node: no router sends anything here any more."""
    if desired.drain is None or not desired.synced or not observed.bgp.reachable:
        return False
    view = View.of(desired, observed, now, settings or PlanSettings())
    vips = [vip for vip, decision in desired.vips.items() if decision.reason is Reason.NODE_DRAINING]
    return not any(drain_lane(view, vip) for vip in vips)


def _keep_serving(view: View, vip: IPAddress, announced: bool) -> list[AnyStep]:
    """What still carries packets is kept right; what was torn down, or never was, is not put up any more."""
    lane = str(vip)
    present, wanted = view.present(vip), view.wanted(vip)
    needed = [
        frontend for frontend in differing(view, vip) if announced or frontend.key in present or _is_local(frontend)
    ]
    steps: list[AnyStep] = [ProgramFrontend(lane=lane, frontend=frontend) for frontend in needed]
    if announced and (needed or proof_is_due(view, vip)):
        steps.append(Verify(lane=lane, vip=vip, frontends=tuple(wanted[key] for key in sorted(wanted))))
    return steps


def _marked(view: View, announced: list[PeerRoute]) -> dict[PeerRoute, Route]:
    """What every peer that can hear it is told in place of its route."""
    return {route: replacement for route in announced if (replacement := _replacement(view, route)) is not None}


def _shed(view: View, vip: IPAddress, marked: dict[PeerRoute, Route]) -> list[AnyStep]:
    """Mark the routes, and give the routers time; empty when that is done."""
    lane = str(vip)
    if not marked:
        return []
    now_marked: list[AnyStep] = [
        Announce(lane=lane, peer=route[0], route=replacement)
        for route, replacement in marked.items()
        if _route_at(view, route) != replacement
    ]
    unsent = any(not entry.sent for route in marked if (entry := view.entry(route)) is not None)
    until = view.observed.shedding.get(vip)
    if now_marked or unsent or until is None:
        return [*now_marked, Shed(lane=lane, vip=vip, until=view.now + view.settings.shed)]
    return [Shed(lane=lane, vip=vip, until=until)] if until > view.now else []


def _replacement(view: View, route: PeerRoute) -> Route | None:
    """What a peer is told instead of ``route``; None if it cannot hear, or there is nothing to be told."""
    peer = view.peers().get(route[0])
    if peer is None or peer.state is not PeerState.ESTABLISHED:
        return None
    return view.desired.shed.get(route[0], {}).get(route[1])


def _route_at(view: View, route: PeerRoute) -> Route | None:
    entry = view.entry(route)
    return entry.route if entry is not None else None


def _tear_down(view: View, vip: IPAddress, leaving: list[PeerRoute]) -> list[AnyStep]:
    """Wait until nobody sends anything here; then remove what only carried packets on to other nodes."""
    lane = str(vip)
    present = view.present(vip)
    if any(view.wish(route) is not None for route in view.covering(vip)):
        return []  # an aggregate that another VIP keeps up: its packets go on coming
    unsent = pending(view, vip, leaving)
    until = view.observed.draining.get(vip)
    if unsent or (present and until is None):
        drain = Drain(lane=lane, vip=vip, until=view.now + view.settings.drain)
        return [AwaitSent(lane=lane, withdrawals=tuple(unsent)), drain] if unsent else [drain]
    if not present or until is None:
        return []
    if until > view.now:
        return [Drain(lane=lane, vip=vip, until=until)]
    limit = until + view.settings.quiet_limit
    if view.now < limit and not view.quiet:
        return [AwaitQuiet(lane=lane, vip=vip, until=limit)]
    gone = [key for key in sorted(present) if not _stays(view, key)] if view.desired.complete else []
    return [RemoveFrontend(lane=lane, key=key) for key in gone]


def _stays(view: View, key: FrontendKey) -> bool:
    wanted = view.desired.frontends.get(key)
    return wanted is not None and _is_local(wanted)


def _is_local(frontend: Frontend) -> bool:
    return any(backend.local for backend in (*frontend.backends, *frontend.terminating))
