"""When End-of-RIB may be sent.

A graceful-restart helper drops every stale route that was not announced again when End-of-RIB arrives (RFC 4724 section
4.2). So it must follow the last announcement of the first complete plan; sent too early it is itself the outage.
"""

from __future__ import annotations

from announcer.model.bgp import PeerObserved, PeerState
from announcer.model.desired import DesiredRoute
from announcer.model.net import Family, IPAddress
from announcer.model.steps import AnyStep, EndOfRib
from announcer.plan.view import View


def end_of_ribs(view: View) -> list[AnyStep]:
    """End-of-RIB for every established peer that has everything it should have, once for each session."""
    return [
        EndOfRib(lane=f"end-of-rib {name}", peer=name, session=peer.session)
        for name, peer in sorted(view.peers().items())
        if name in view.desired.neighbors and _is_due(peer) and _is_complete(view, peer)
    ]


def _is_due(peer: PeerObserved) -> bool:
    return peer.state is PeerState.ESTABLISHED and peer.end_of_rib != peer.session


def _is_complete(view: View, peer: PeerObserved) -> bool:
    """All that the session can carry has arrived. One marker ends each family, and all go out together."""
    name = peer.neighbor.name
    unsent = [nlri for nlri in view.index.sides[name].unsent if Family.of(nlri) not in peer.unusable]
    return all(_is_settled(view, peer, view.desired.rib[name][nlri]) for nlri in unsent)


def _is_settled(view: View, peer: PeerObserved, wish: DesiredRoute) -> bool:
    """Announced and sent in this session, or given up on: none of its VIPs could be proven for a good while."""
    entry = peer.rib.get(wish.route.nlri)
    if entry is not None and entry.sent and not entry.withdrawing:
        return True
    return bool(wish.vips) and all(_is_given_up(view, vip) for vip in wish.vips)


def _is_given_up(view: View, vip: IPAddress) -> bool:
    """Not to be announced soon: unproven for a good while, or held back because its proof comes and goes."""
    failing = view.failing_for(vip)
    return view.held(vip) or (failing is not None and failing >= view.settings.end_of_rib_hold)
