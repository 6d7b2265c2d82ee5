"""The one promise, checked: is anything announced that this node cannot serve?

Pure and independent of ``plan``: it looks at the observed state alone, so it also finds what a wrong plan did.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import msgspec

from announcer.model.bgp import PeerState
from announcer.model.desired import Desired
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.observed import Observed


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A route at a peer without anything proven behind it."""

    peer: str
    nlri: IPNetwork
    problem: str


def violations(desired: Desired, observed: Observed) -> tuple[Violation, ...]:
    """Every route that an established peer holds and that nothing of ours can serve right now."""
    return tuple(found for found in check(desired, observed) if found is not None)


def check(desired: Desired, observed: Observed) -> Iterator[Violation | None]:
    """The same one by one, and None for every route that is well: who has other things to do may stop in between."""
    own = {decision.prefix for decision in desired.pod_cidrs}
    serving = {key.vip for key, frontend in observed.datapath.frontends.items() if frontend.backends}
    for name, peer in sorted(observed.bgp.peers.items()):
        if peer.state is not PeerState.ESTABLISHED:
            continue
        for nlri, entry in peer.rib.items():
            if nlri in own or entry.withdrawing:
                yield None
                continue
            problem = _problem(nlri, serving, observed)
            if not problem and nlri.prefixlen < nlri.max_prefixlen and nlri not in observed.datapath.guards:
                problem = "packets to addresses of it that are no VIP are not dropped"
            yield Violation(peer=name, nlri=nlri, problem=problem) if problem else None


def _problem(nlri: IPNetwork, serving: Set[IPAddress], observed: Observed) -> str:
    vips = _inside(nlri, serving)
    if not vips:
        return "no frontend with backends stands behind it"
    if not observed.datapath.attached:
        forwarder = observed.datapath.forwarder
        return (
            f"{forwarder.name} is not healthy" if forwarder else "the programs are not attached to every ingress device"
        )
    if not any(_is_proven(vip, observed) for vip in vips):
        return "no VIP behind it is proven"
    return ""


def _inside(nlri: IPNetwork, vips: Set[IPAddress]) -> Set[IPAddress]:
    """Most routes are of one address, and there are as many as VIPs: for those no others are looked at."""
    if nlri.prefixlen == nlri.max_prefixlen:
        return {nlri.network_address} if nlri.network_address in vips else set()
    return {vip for vip in vips if vip in nlri}


def _is_proven(vip: IPAddress, observed: Observed) -> bool:
    proof = observed.proofs.get(vip)
    return proof is not None and proof.ok
