"""Whether this node is to leave, and which VIPs it must go on announcing all the same.

A node leaves on a word given on the node itself (``lockstep drain``, a planned exit), or by what its Node object says.
Whole clusters get cordoned at once, by upgrades and by accident; so on the word of Node objects alone, a floor of
announcers is kept for every VIP. Every node decides that for itself from the same objects and comes to the same answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from announcer.config.types import Config, Drain
from announcer.decide.ports import found_behind
from announcer.decide.rules import rules_of
from announcer.decide.services import Claims
from announcer.decide.vips import EXCLUDE_LABEL, NETWORK_UNAVAILABLE
from announcer.model.bgp import Community, Neighbor, Route
from announcer.model.desired import DesiredRoute, NodeDrain, Reason, VipDecision
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.objects import Node, Service, TrafficPolicy
from announcer.snapshot import Snapshot

#: As a label, an annotation (with any value but ``false``) or a taint of the Node: take this node out of service.
DRAIN_KEY = "lockstep/drain"

#: RFC 8326: "I am going away; prefer any other way". Well-known, RFC 1997 form 65535:0.
GRACEFUL_SHUTDOWN: Community = (0xFFFF, 0)

_Vips = dict[IPAddress, VipDecision]


def decide_drain(snapshot: Snapshot, config: Config, claims: Claims, vips: _Vips) -> tuple[NodeDrain | None, _Vips]:
    """Whether this node leaves, and the decisions with the reason ``nodeDraining`` where it does.

    A VIP that is not announced for another reason keeps that reason.
    """
    by = _words(snapshot, config.drain)
    if not by:
        return None, vips
    eligible = {vip for vip, decision in vips.items() if decision.reason is None}
    kept = frozenset[IPAddress]() if snapshot.drain else _kept(snapshot, config, claims, eligible)
    detail = f"the node is being drained: {', '.join(by)}"
    stays = f"the node is to be drained ({', '.join(by)}), but too few others would announce this VIP"
    after = dict(vips)
    for vip in eligible:
        change = {"detail": stays} if vip in kept else {"reason": Reason.NODE_DRAINING, "detail": detail}
        after[vip] = msgspec.structs.replace(vips[vip], **change)
    return NodeDrain(by=by, kept=tuple(sorted(kept, key=lambda vip: (vip.version, vip)))), after


def shed_routes(
    neighbors: tuple[Neighbor, ...],
    before: dict[str, dict[IPNetwork, DesiredRoute]],
    after: dict[str, dict[IPNetwork, DesiredRoute]],
) -> dict[str, dict[IPNetwork, Route]]:
    """Of the routes that a drain takes away: what is announced in their place for a while first.

    RFC 8326 section 4: the community, and on iBGP, where routers need no policy for it, the lowest LOCAL_PREF as well.
    """
    return {
        neighbor.name: {
            nlri: _shed(wish.route, neighbor)
            for nlri, wish in before.get(neighbor.name, {}).items()
            if nlri not in after.get(neighbor.name, {})
        }
        for neighbor in neighbors
    }


def node_words(node: Node, settings: Drain) -> tuple[str, ...]:
    """What of a Node object asks for its drain, in words; empty if nothing does."""
    found = []
    if node.labels.get(DRAIN_KEY, "false") != "false":
        found.append(f"label {DRAIN_KEY}")
    if node.annotations.get(DRAIN_KEY, "false") != "false":
        found.append(f"annotation {DRAIN_KEY}")
    keys = {DRAIN_KEY, *settings.taints}
    found += [f"taint {key}" for key in sorted({taint.key for taint in node.taints} & keys)]
    if settings.on_cordon and node.unschedulable:
        found.append("cordon")
    return tuple(found)


def _words(snapshot: Snapshot, settings: Drain) -> tuple[str, ...]:
    own = (snapshot.drain,) if snapshot.drain else ()
    return own + (node_words(snapshot.node, settings) if snapshot.node is not None else ())


def _shed(route: Route, neighbor: Neighbor) -> Route:
    communities = tuple(sorted({*route.communities, GRACEFUL_SHUTDOWN}))
    return msgspec.structs.replace(route, communities=communities, local_pref=0 if neighbor.internal else None)


def _kept(snapshot: Snapshot, config: Config, claims: Claims, vips: Iterable[IPAddress]) -> frozenset[IPAddress]:
    """The VIPs for which this node is among the last announcers, or may be for all that is known."""
    if not snapshot.nodes_fresh and config.drain.floor > 0:
        return frozenset(vips)
    nodes = [node for node in snapshot.nodes.values() if _may_announce(node, config)]
    leaving = {node.key.name for node in nodes if node_words(node, config.drain)}
    kept = set()
    for vip in vips:
        able = {node.key.name for node in nodes if _serves(snapshot, config, node, vip, claims.by_vip.get(vip, ()))}
        missing = config.drain.floor - len(able - leaving)
        if missing > 0 and snapshot.node_name in sorted(able & leaving, key=lambda name: _rank(vip, name))[:missing]:
            kept.add(vip)
    return frozenset(kept)


def _rank(vip: IPAddress, name: str) -> bytes:
    """The order in which nodes stay. Another one for every VIP, so that the last nodes share what is left."""
    return hashlib.sha256(f"{vip} {name}".encode()).digest()


def _may_announce(node: Node, config: Config) -> bool:
    """A node that some peer has a session with and that is alive, as far as the cluster knows."""
    conditions = node.conditions
    alive = conditions.get("Ready", "True") == "True" and conditions.get(NETWORK_UNAVAILABLE, "False") != "True"
    return alive and EXCLUDE_LABEL not in node.labels and any(peer.selects(node.labels) for peer in config.peers)


def _serves(snapshot: Snapshot, config: Config, node: Node, vip: IPAddress, services: tuple[Service, ...]) -> bool:
    """False if a Service behind ``vip`` wants local endpoints and the node lacks them for one of its ports."""
    pool = config.pool_of(vip)
    for service in services:
        if pool is not None and service.external_traffic_policy is TrafficPolicy.LOCAL:
            rules = rules_of(service, pool)
            for port in service.ports:
                found = found_behind(snapshot, service, port, rules, version=vip.version, node_name=node.key.name)
                if found.serving and not found.local:
                    return False
    return True
