"""Which Pod CIDRs of this node are announced. They need no backend and no proof: the kernel routes them."""

from __future__ import annotations

from announcer.config.types import PodCidrs
from announcer.model.bgp import Neighbor
from announcer.model.desired import PodCidrDecision, Reason
from announcer.model.net import Family, IPNetwork
from announcer.model.objects import Node


def decide_pod_cidrs(node: Node | None, wish: PodCidrs, neighbors: tuple[Neighbor, ...]) -> tuple[PodCidrDecision, ...]:
    """One decision for each Pod CIDR of this node, in the order of the Node object."""
    if node is None:
        return ()
    return tuple(_decide(prefix, wish, neighbors) for prefix in node.pod_cidrs)


def _decide(prefix: IPNetwork, wish: PodCidrs, neighbors: tuple[Neighbor, ...]) -> PodCidrDecision:
    if not wish.announce:
        detail = "pod-cidrs.announce is false in the bgp-config"
        return PodCidrDecision(prefix=prefix, reason=Reason.NOT_ADVERTISED, detail=detail)
    if not neighbors:
        detail = "no peer of the bgp-config selects this node"
        return PodCidrDecision(prefix=prefix, reason=Reason.NO_PEERS, detail=detail)
    reached = [neighbor for neighbor in neighbors if wish.advertisement.reaches(neighbor.name)]
    if not reached:
        detail = "pod-cidrs.peers names no peer of this node"
        return PodCidrDecision(prefix=prefix, reason=Reason.NOT_ADVERTISED, detail=detail)
    family = Family.of(prefix)
    if not any(family in neighbor.carried for neighbor in reached):
        detail = f'no session of this node carries {family.label} routes: see "families" of its peers'
        return PodCidrDecision(prefix=prefix, reason=Reason.FAMILY_NOT_CARRIED, detail=detail)
    return PodCidrDecision(prefix=prefix)
