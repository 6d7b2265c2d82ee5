"""From decisions to one Adj-RIB-Out per neighbor."""

from __future__ import annotations

import msgspec

from announcer.config.types import Advertisement, Config
from announcer.model.bgp import Neighbor, Origin, Route
from announcer.model.desired import DesiredRoute, PodCidrDecision, VipDecision
from announcer.model.net import Family, IPAddress, IPNetwork, aggregate

Rib = dict[IPNetwork, DesiredRoute]

#: What an absent LOCAL_PREF counts as: the engine sends it so.
_DEFAULT_LOCAL_PREF = 100


def adj_rib_out(
    config: Config,
    labels: dict[str, str],
    neighbors: tuple[Neighbor, ...],
    vips: dict[IPAddress, VipDecision],
    pod_cidrs: tuple[PodCidrDecision, ...],
) -> dict[str, Rib]:
    """What each neighbor should hold, by its name. Only VIPs that may be announced are in it, and of the families that
    the session is to carry.

    ``labels``: those of this node, for advertisements that select nodes. A prefix that is both a Pod CIDR and of a VIP
    cannot be: VIPs inside Pod CIDRs are refused, and so are aggregates that touch one.
    """
    pools = {pool.name: pool for pool in config.pools}
    wanted = [
        (advertisement, decision.vip)
        for decision in vips.values()
        if decision.reason is None
        for advertisement in pools[decision.pool].advertisements
        if advertisement.selects(labels)
    ]
    ribs: dict[str, Rib] = {}
    for neighbor in neighbors:
        rib: Rib = {}
        for advertisement, vip in wanted:
            if Family.of(vip) not in neighbor.carried:
                continue
            if advertisement.reaches(neighbor.name) and _nlri(advertisement, vip) in vips[vip].routes:
                _add(rib, advertisement, vip)
        _add_pod_cidrs(rib, config.pod_cidrs.advertisement, neighbor, pod_cidrs)
        ribs[neighbor.name] = {nlri: _fit(desired, neighbor) for nlri, desired in rib.items()}
    return ribs


def _add(rib: Rib, advertisement: Advertisement, vip: IPAddress) -> None:
    """Add one advertisement of one VIP. Two that meet in one prefix are merged, the same way in any order."""
    nlri = _nlri(advertisement, vip)
    route = _route(nlri, advertisement)
    before = rib.get(nlri)
    if before is not None:
        route = _merge(before.route, route)
    vips = {vip, *(before.vips if before is not None else ())}
    rib[nlri] = DesiredRoute(route=route, vips=tuple(sorted(vips)))


def _nlri(advertisement: Advertisement, vip: IPAddress) -> IPNetwork:
    return aggregate(vip, advertisement.length(vip.version))


def _add_pod_cidrs(
    rib: Rib, advertisement: Advertisement, neighbor: Neighbor, pod_cidrs: tuple[PodCidrDecision, ...]
) -> None:
    if advertisement.reaches(neighbor.name):
        for pod_cidr in pod_cidrs:
            if pod_cidr.reason is None and Family.of(pod_cidr.prefix) in neighbor.carried:
                rib[pod_cidr.prefix] = DesiredRoute(route=_route(pod_cidr.prefix, advertisement))


def _route(nlri: IPNetwork, advertisement: Advertisement) -> Route:
    return Route(
        nlri=nlri,
        local_pref=advertisement.local_pref,
        communities=advertisement.communities,
        large_communities=advertisement.large_communities,
        med=advertisement.med,
        prepend=advertisement.prepend,
        origin=advertisement.origin,
    )


def _merge(one: Route, other: Route) -> Route:
    """All communities of both; of the rest what makes the route more preferred, so that no VIP in it gets less."""
    unset = one.local_pref is None and other.local_pref is None
    local_pref = None if unset else max(_local_pref(one), _local_pref(other))
    meds = [route.med or 0 for route in (one, other)]
    return Route(
        nlri=one.nlri,
        local_pref=local_pref,
        communities=tuple(sorted({*one.communities, *other.communities})),
        large_communities=tuple(sorted({*one.large_communities, *other.large_communities})),
        med=None if one.med is None and other.med is None else min(meds),
        prepend=min(one.prepend, other.prepend),
        origin=one.origin if one.origin is other.origin else Origin.IGP,
    )


def _local_pref(route: Route) -> int:
    return _DEFAULT_LOCAL_PREF if route.local_pref is None else route.local_pref


def _fit(desired: DesiredRoute, neighbor: Neighbor) -> DesiredRoute:
    """LOCAL_PREF goes to internal peers only (RFC 4271 section 5.1.5), the AS_PATH grows towards external ones only.

    What is not set and what is set to the default are the same route, and no UPDATE leads from one to the other.
    """
    route = desired.route
    fitting = (
        msgspec.structs.replace(
            route, prepend=0, local_pref=None if _local_pref(route) == _DEFAULT_LOCAL_PREF else route.local_pref
        )
        if neighbor.internal
        else msgspec.structs.replace(route, local_pref=None)
    )
    return msgspec.structs.replace(desired, route=fitting)
