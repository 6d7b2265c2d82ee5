"""What a cluster should be told of one moment of this node, as Events on its objects. Pure.

A thousand nodes that all told the same would be a flood, so who tells what is settled without a word between them:

- What is so for a Service everywhere (no endpoints, no address, an address that is not allowed) is told on the Service
  by one node (``announcer.status.tellers``).
- What is so on this node alone (a session, its configuration, a proof that fails) is told on its Node.

A notice says how things are, not what has just happened; ``announcer.status.bulletin`` finds out what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from announcer.model.bgp import PeerState
from announcer.model.desired import Reason, ServiceDecision
from announcer.model.objects import Kind, ObjectKey
from announcer.snapshot import ConfigState
from announcer.status.sight import Sight
from announcer.status.tellers import ring_of
from announcer.status.vip_state import VipState, see_vip

#: Reasons that lie in this node or its surroundings, and say nothing of the Service.
_OF_THE_NODE = frozenset(
    {
        Reason.NODE_EXCLUDED,
        Reason.NODE_DRAINING,
        Reason.NODE_NETWORK_UNAVAILABLE,
        Reason.NO_PEERS,
        Reason.NO_LOCAL_ENDPOINTS,
        Reason.NOT_PROVEN,
        Reason.DAMPED,
        Reason.DATAPATH_ERROR,
        Reason.PEER_NOT_ESTABLISHED,
        Reason.FAMILY_NOT_CARRIED,
        Reason.NOT_ADVERTISED,
        Reason.SOURCES_NOT_SYNCED,
    }
)

#: What is not worth a word: most Services are of another type or another controller's.
_NOBODYS = frozenset({Reason.NOT_LOAD_BALANCER, Reason.CLASS_NOT_OURS, Reason.CONFIG_INVALID, Reason.CONFIG_MISSING})

#: VIPs that a notice names.
_SHOWN = 3


class About(msgspec.Struct, frozen=True, order=True):
    """The object of a notice, and which of the things about it."""

    kind: Kind
    key: ObjectKey
    subject: str


class Notice(msgspec.Struct, frozen=True):
    """``reason`` in the style of Events (``NoEndpoints``); ``warning``: somebody should do something about it."""

    reason: str
    message: str
    warning: bool = False


Notices: TypeAlias = dict[About, Notice]


def notices(sight: Sight) -> Notices:
    """Everything that this node has to tell. Empty while nothing is certain."""
    found = dict(_of_node(sight))
    if sight.desired.synced:
        found.update(_of_services(sight))
    return found


def _of_node(sight: Sight) -> Iterator[tuple[About, Notice]]:
    def about(subject: str) -> About:
        return About(Kind.NODE, ObjectKey("", sight.snapshot.node_name), subject)

    yield about("config"), _config(sight)
    if sight.snapshot.synced:
        away = sight.stale_seconds > 0 and bool(sight.source_problems)
        problem = f"the last state stays in force: {sight.source_problems[0]}" if away else ""
        yield about("source"), Notice("SourceAway", problem, True) if away else Notice("SourceHeard", "all is read")
    for name in sorted(sight.desired.neighbors):
        peer = sight.observed.bgp.peers.get(name)
        if peer is not None and peer.state is PeerState.ESTABLISHED:
            yield about(f"peer {name}"), Notice("PeerEstablished", f"the BGP session with {name} is established")
        else:
            why = (peer.last_error or f"the state is {peer.state}") if peer is not None else "not started"
            yield about(f"peer {name}"), Notice("PeerDown", f"no BGP session with {name}: {why}", True)
    for refusal in sight.desired.refused_peers:
        if refusal.reason is not Reason.NOT_SELECTED_FOR_PEER:
            message = f"no BGP session with {refusal.peer}: {refusal.detail}"
            yield about(f"peer {refusal.peer}"), Notice(_word(refusal.reason), message, True)
    drain = sight.desired.drain
    text = f"taken out of service by {', '.join(drain.by)}" if drain is not None else "in service"
    yield about("drain"), Notice("NodeDraining" if drain is not None else "NodeInService", text)
    yield about("vips"), _withheld(sight)


def _config(sight: Sight) -> Notice:
    view = sight.snapshot.config
    if view.state is ConfigState.APPLIED:
        return Notice("ConfigApplied", "the bgp-config is applied")
    problem = str(view.problems[0]) if view.problems else "there is none"
    more = f" (and {len(view.problems) - 1} more)" if len(view.problems) > 1 else ""
    force = "; the last good one stays in force" if view.config is not None else ""
    return Notice(_word(f"config{view.state.value.title()}"), f"bgp-config: {problem}{more}{force}", True)


def _withheld(sight: Sight) -> Notice:
    """The VIPs that this node does not announce for a reason of its own, in one notice: there may be thousands."""
    held: dict[str, list[str]] = {}
    # "No proof yet" is how every VIP begins; what lasts is a proof that failed.
    for vip in [vip for vip, proof in sight.observed.proofs.items() if not proof.ok]:
        decision = sight.desired.vips.get(vip)
        if decision is not None and decision.reason is None:
            seen = see_vip(sight, vip)
            if seen.state is VipState.WITHHELD and seen.reason in _OF_THE_NODE:
                held.setdefault(f"{seen.reason}: {seen.detail}", []).append(str(vip))
    if not held:
        return Notice("VipsServed", "every VIP that this node may announce can be served")
    words = [f"{_names(vips)} {why}" for why, vips in sorted(held.items())]
    return Notice("VipsWithheld", "not announced: " + "; ".join(words), True)


def _names(vips: list[str]) -> str:
    shown = ", ".join(sorted(vips)[:_SHOWN])
    return f"{shown} and {len(vips) - _SHOWN} more" if len(vips) > _SHOWN else shown


def _of_services(sight: Sight) -> Iterator[tuple[About, Notice]]:
    ring = ring_of(tuple(sorted({key.name for key in sight.snapshot.nodes} | {sight.snapshot.node_name})))
    for key, decision in sight.desired.services.items():
        if decision.reason in _NOBODYS or ring.teller(key) != sight.snapshot.node_name:
            continue
        notice = _service(sight, decision)
        if notice is not None:
            yield About(Kind.SERVICE, key, "announcement"), notice


def _service(sight: Sight, decision: ServiceDecision) -> Notice | None:
    """None while there is nothing certain to say of the Service itself."""
    if decision.reason is not None:
        return Notice(_word(decision.reason), decision.detail or str(decision.reason), True)
    for vip in decision.vips:
        found = sight.desired.vips.get(vip)
        if found is None or found.reason in _OF_THE_NODE:
            return None
        if found.reason is not None:
            return Notice(_word(found.reason), f"{vip} is not announced: {found.detail or found.reason}", True)
        if see_vip(sight, vip).state is not VipState.ANNOUNCED:
            return None
    where = ", ".join(map(str, decision.vips))
    return Notice("Announced", f"{where} is announced by BGP (seen on node {sight.snapshot.node_name})")


def _word(reason: str) -> str:
    return reason[:1].upper() + reason[1:]
