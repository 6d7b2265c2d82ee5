"""From decisions to one Adj-RIB-Out per neighbor."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import msgspec

from announcer.config.types import Advertisement, Config
from announcer.model.bgp import Neighbor, Origin, Route
from announcer.model.desired import DesiredRoute, PodCidrDecision, VipDecision
from announcer.model.net import Family, IPAddress, IPNetwork

Rib = dict[IPNetwork, DesiredRoute]

#: What an absent LOCAL_PREF counts as: the engine sends it so.
_DEFAULT_LOCAL_PREF = 100


#: VIPs by the prefix that an advertisement makes of them.
_ByNlri = dict[IPNetwork, set[IPAddress]]


class Ribs(msgspec.Struct, frozen=True, kw_only=True):
    """What each neighbor should hold, by its name, and the decisions that it was made of."""

    by_neighbor: dict[str, Rib] = {}
    vips: dict[IPAddress, VipDecision] = {}


def adj_rib_out(
    config: Config,
    labels: dict[str, str],
    neighbors: tuple[Neighbor, ...],
    vips: dict[IPAddress, VipDecision],
    pod_cidrs: tuple[PodCidrDecision, ...],
    before: Ribs,
    touched: Iterable[IPAddress],
) -> Ribs:
    """``before``, with the routes of the VIPs that are ``touched`` as ``vips`` has them.

    Only VIPs that may be announced are in it, and of the families that the session is to carry. ``labels``: those of
    this node, for advertisements that select nodes. A prefix that is both a Pod CIDR and of a VIP cannot be: VIPs
    inside Pod CIDRs are refused, and so are aggregates that touch one.
    """
    pools = {
        pool.name: tuple(advertisement for advertisement in pool.advertisements if advertisement.selects(labels))
        for pool in config.pools
    }
    changed = {vip for vip in touched if _wish(before.vips.get(vip)) != _wish(vips.get(vip))}
    affected: _ByNlri = {}
    for vip in changed:
        for decision in (before.vips.get(vip), vips.get(vip)):
            for nlri in decision.routes if decision is not None else ():
                affected.setdefault(nlri, set()).add(vip)
    ribs: dict[str, Rib] = {}
    for neighbor in neighbors:
        rib = before.by_neighbor.get(neighbor.name)
        if rib is None or affected:
            rib = dict(rib or {})
            for nlri, members in affected.items():
                known = rib.pop(nlri, None)
                others = known.vips if known is not None else ()
                desired = _desired(neighbor, nlri, members.union(others), vips, pools)
                if desired is not None:
                    rib[nlri] = desired
            _add_pod_cidrs(rib, config.pod_cidrs.advertisement, neighbor, pod_cidrs)
        ribs[neighbor.name] = rib
    return Ribs(by_neighbor=ribs, vips=vips)


def _wish(decision: VipDecision | None) -> tuple[str, tuple[IPNetwork, ...]] | None:
    """What of a decision makes routes."""
    return (decision.pool, decision.routes) if decision is not None and decision.reason is None else None


def _desired(
    neighbor: Neighbor,
    nlri: IPNetwork,
    members: Iterable[IPAddress],
    vips: dict[IPAddress, VipDecision],
    pools: dict[str, tuple[Advertisement, ...]],
) -> DesiredRoute | None:
    """One route to one neighbor, for those of ``members`` that want it. Advertisements that meet in it are merged."""
    if Family.of(nlri) not in neighbor.carried:
        return None
    advertisements: dict[int, Advertisement] = {}
    behind: list[IPAddress] = []
    for vip in members:
        decision = vips.get(vip)
        if decision is None or decision.reason is not None or nlri not in decision.routes:
            continue
        reaching = [
            advertisement
            for advertisement in pools[decision.pool]
            if advertisement.reaches(neighbor.name) and advertisement.length(vip.version) == nlri.prefixlen
        ]
        advertisements.update((id(advertisement), advertisement) for advertisement in reaching)
        if reaching:
            behind.append(vip)
    if not behind:
        return None
    route = reduce(_merge, (_route(nlri, advertisement) for advertisement in advertisements.values()))
    return _fit(DesiredRoute(route=route, vips=tuple(sorted(behind))), neighbor)


def _add_pod_cidrs(
    rib: Rib, advertisement: Advertisement, neighbor: Neighbor, pod_cidrs: tuple[PodCidrDecision, ...]
) -> None:
    if advertisement.reaches(neighbor.name):
        for pod_cidr in pod_cidrs:
            if pod_cidr.reason is None and Family.of(pod_cidr.prefix) in neighbor.carried:
                rib[pod_cidr.prefix] = _fit(DesiredRoute(route=_route(pod_cidr.prefix, advertisement)), neighbor)


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
