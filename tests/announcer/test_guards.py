"""Aggregates and the guards of their unused addresses: decided, planned, seen."""

from __future__ import annotations

import msgspec
import pytest

from announcer.consistency import violations
from announcer.decide import decide
from announcer.model.bgp import PeerObserved, PeerState, RibEntry, Route
from announcer.model.desired import Desired, Reason
from announcer.model.lb import DeviceObserved, Proof
from announcer.model.net import IPNetwork
from announcer.model.objects import Node
from announcer.model.observed import BgpObserved, DatapathObserved, Observed
from announcer.model.steps import AnyStep
from announcer.plan import plan
from tests.announcer.build import config, endpoints, ip, net, node, service, snapshot

VIP = ip("203.0.113.1")
HOST = net("203.0.113.1/32")
AGGREGATE = net("203.0.113.0/28")
PEER = "10.0.0.1"
NOW = 100.0


def settings(pool: str = "203.0.113.0/24", length: int = 28, more: str = "") -> str:
    return f"""
peers:
- {{peer-address: {PEER}, peer-asn: 64512, my-asn: 64512}}
address-pools:
- name: main
  protocol: bgp
  addresses: [{pool}]
  bgp-advertisements: [{{aggregation-length: {length}}}{more}]
"""


def desired(text: str = settings(), here: Node | None = None) -> Desired:
    objects = (here or node(), service(), endpoints("web", "10.244.1.10"))
    return decide(snapshot(*objects, config_text=text))


def observed(
    wish: Desired, *, guards: tuple[IPNetwork, ...] = (), held: tuple[IPNetwork, ...] = (), **peer: object
) -> Observed:
    """Everything served and proven; ``held``: what the peer was told."""
    rib = {nlri: RibEntry(route=Route(nlri=nlri), acknowledged=True, sent=True) for nlri in held}
    state = {"state": PeerState.ESTABLISHED, "session": 1, "end_of_rib": 1, "rib": rib, **peer}
    seen = PeerObserved(neighbor=wish.neighbors[PEER], **state)  # type: ignore[arg-type]
    return Observed(
        datapath=DatapathObserved(
            devices={"eth0": DeviceObserved(name="eth0", ifindex=2, attached=True)},
            frontends=dict(wish.frontends),
            guards=frozenset(guards),
        ),
        bgp=BgpObserved(reachable=True, peers={PEER: seen}),
        proofs={VIP: Proof(ok=True, at=NOW, since=NOW)},
    )


def names(steps: tuple[AnyStep, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_an_aggregate_is_guarded_before_it_is_announced() -> None:
    wish = desired()
    assert names(plan(wish, observed(wish), NOW)) == ["GuardAggregate"]
    assert names(plan(wish, observed(wish, guards=(AGGREGATE,)), NOW)) == ["Announce"]
    assert plan(wish, observed(wish, guards=(AGGREGATE,), held=(AGGREGATE,)), NOW) == ()


def test_a_single_address_needs_no_guard() -> None:
    wish = desired(settings(length=32))
    assert names(plan(wish, observed(wish), NOW)) == ["Announce"]


def test_the_route_that_an_aggregate_replaces_stays_until_that_was_sent() -> None:
    wish = desired()
    assert names(plan(wish, observed(wish, held=(HOST,)), NOW)) == ["GuardAggregate"]
    assert names(plan(wish, observed(wish, held=(HOST,), guards=(AGGREGATE,)), NOW)) == ["Announce"]
    assert names(plan(wish, observed(wish, held=(HOST, AGGREGATE), guards=(AGGREGATE,)), NOW)) == ["Withdraw"]


def test_a_lost_guard_is_set_again() -> None:
    wish = desired()
    assert names(plan(wish, observed(wish, held=(AGGREGATE,)), NOW)) == ["GuardAggregate"]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, False),
        ({"held": (AGGREGATE,)}, True),
        ({"state": PeerState.CONNECT, "down_since": NOW - 1}, True),
        ({"state": PeerState.CONNECT, "down_since": NOW - 1000}, False),
    ],
    ids=["nobody holds it", "not withdrawn yet", "a peer may believe in it", "a peer that has forgotten"],
)
def test_a_guard_goes_when_no_peer_can_hold_the_aggregate(fields: dict[str, object], kept: bool) -> None:
    wish = desired(settings(length=32))
    steps = plan(wish, observed(wish, guards=(AGGREGATE,), **fields), NOW)  # type: ignore[arg-type]
    assert ("UnguardAggregate" not in names(steps)) is kept


def test_a_withdrawal_under_way_keeps_the_guard() -> None:
    wish = desired(settings(length=32))
    leaving = RibEntry(route=Route(nlri=AGGREGATE), withdrawing=True, acknowledged=True)
    steps = plan(wish, observed(wish, guards=(AGGREGATE,), rib={AGGREGATE: leaving}), NOW)
    assert "UnguardAggregate" not in names(steps)


def test_nothing_is_unguarded_on_half_a_source_or_without_the_speaker() -> None:
    wish = desired(settings(length=32))
    seen = observed(wish, guards=(AGGREGATE,), held=(HOST,))
    assert names(plan(wish, seen, NOW)) == ["UnguardAggregate"]
    assert plan(msgspec.structs.replace(wish, complete=False), seen, NOW) == ()
    away = msgspec.structs.replace(seen, bgp=msgspec.structs.replace(seen.bgp, reachable=False))
    assert plan(wish, away, NOW) == ()


def test_an_announced_aggregate_without_guard_breaks_the_promise() -> None:
    wish = desired()
    assert violations(wish, observed(wish, held=(AGGREGATE,), guards=(AGGREGATE,))) == ()
    (found,) = violations(wish, observed(wish, held=(AGGREGATE,)))
    assert (found.nlri, found.problem) == (AGGREGATE, "packets to addresses of it that are no VIP are not dropped")


@pytest.mark.parametrize(
    ("here", "covered"),
    [
        (node(addresses=(ip("203.0.113.14"),)), "203.0.113.14, an address of the node n1"),
        (node(pod_cidrs=(net("203.0.113.8/29"),)), "the Pod CIDR 203.0.113.8/29 of the node n1"),
    ],
)
def test_an_aggregate_over_nodes_or_pods_is_not_announced(here: Node, covered: str) -> None:
    """Its unused addresses are dropped: that must not hit anything that lives."""
    wish = desired(here=here)
    decision = wish.vips[VIP]
    assert (decision.reason, decision.routes) == (Reason.NOT_ADVERTISED, ())
    assert decision.detail == f"the aggregate {AGGREGATE} covers {covered}"
    assert AGGREGATE not in wish.rib[PEER]
    assert decision.frontends, "it is served all the same"


def test_an_aggregate_over_a_peer_is_not_announced_but_other_advertisements_are() -> None:
    text = settings(more=", {aggregation-length: 32}").replace(PEER, "203.0.113.14")
    decided = decide(snapshot(node(), service(), endpoints("web", "10.244.1.10"), config_text=text))
    decision = decided.vips[VIP]
    assert (decision.reason, decision.routes) == (None, (HOST,))
    assert decision.detail == f"the aggregate {AGGREGATE} covers the peer 203.0.113.14"
    assert set(decided.rib["203.0.113.14"]) == {HOST}
    assert config(text).peers
