"""Whether a node leaves, which VIPs it keeps, and the order in which it goes."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from announcer.decide import decide
from announcer.decide.drain import DRAIN_KEY
from announcer.model.bgp import PeerState, RibEntry, Route
from announcer.model.desired import Desired, Reason
from announcer.model.lb import Backend, Frontend
from announcer.model.net import IPNetwork
from announcer.model.objects import Node, Taint
from announcer.model.observed import Observed
from announcer.model.steps import Shed
from announcer.plan import PlanSettings, drain_is_over, plan
from tests.announcer.build import CONFIG, endpoints, ip, node, service, snapshot
from tests.announcer.test_plan import KEY, NOW, PEER, ROUTE, VIP, announced, good, names, observed, served

TAINTED: dict[str, Any] = {"taints": (Taint(key=DRAIN_KEY, effect="NoSchedule"),)}
CORDONED: dict[str, Any] = {"unschedulable": True}
BY_CORDON = CONFIG + "drain: {on-cordon: true, taints: [example.com/leaving]}\n"
MARKED = Route(nlri=ROUTE, local_pref=0, communities=((65535, 0),))
REMOTE = Frontend(key=KEY, backends=(Backend(ip("10.244.2.10"), 8080),))
OTHERS = (node("n2"), node("n3"))


def leaving(*, remote: bool = False) -> Desired:
    pod = endpoints("web", "10.244.2.10", node_name="n2") if remote else endpoints("web", "10.244.1.10")
    return decide(snapshot(node(), service(), pod, drain="lockstep drain"))


def reason_on(*nodes: Node, config_text: str = CONFIG, name: str = "n1", local: bool = False) -> Reason | None:
    pods = [endpoints("web", f"10.244.{n.key.name[1:]}.10", name=n.key.name, node_name=n.key.name) for n in nodes]
    seen = snapshot(*nodes, service(local=local), *pods, config_text=config_text, node_name=name)
    return decide(seen).vips[VIP].reason


@pytest.mark.parametrize(
    "fields",
    [
        TAINTED,
        {"labels": {DRAIN_KEY: ""}},
        {"labels": {DRAIN_KEY: "true"}},
        {"annotations": {DRAIN_KEY: "maintenance"}},
        CORDONED,
        {"taints": (Taint(key="example.com/leaving"),)},
    ],
)
def test_what_the_node_object_may_say(fields: dict[str, Any]) -> None:
    assert reason_on(node(**fields), *OTHERS, config_text=BY_CORDON) is Reason.NODE_DRAINING


@pytest.mark.parametrize(
    "fields", [CORDONED, {"taints": (Taint(key="example.com/leaving"),)}, {"labels": {DRAIN_KEY: "false"}}, {}]
)
def test_what_it_may_say_without_consequence(fields: dict[str, Any]) -> None:
    """A cordon drains only where that was asked for: whole clusters get cordoned in upgrades."""
    assert reason_on(node(**fields), *OTHERS) is None


def test_a_vip_that_is_withheld_for_another_reason_keeps_that_reason() -> None:
    seen = snapshot(node(), service(), endpoints("web", "10.244.1.10", ready=False), drain="lockstep drain")
    assert decide(seen).vips[VIP].reason is Reason.NO_ENDPOINTS


@pytest.mark.parametrize("floor", [0, 1, 2, 3, 4])
def test_the_floor_holds_when_all_are_to_leave_and_all_nodes_agree(floor: int) -> None:
    nodes = [node(f"n{number}", **TAINTED) for number in range(1, 4)]
    text = CONFIG + f"drain: {{floor: {floor}}}\n"
    staying = [n for n in ("n1", "n2", "n3") if reason_on(*nodes, config_text=text, name=n) is None]
    assert len(staying) == min(floor, 3)


def test_the_floor_counts_those_that_can_announce() -> None:
    """Not one that is excluded, one that is down, or with traffic policy Local one without endpoints."""
    away = node("n2", labels={"node.kubernetes.io/exclude-from-external-load-balancers": ""})
    down = node("n3", conditions={"Ready": "Unknown"})
    assert reason_on(node(**TAINTED), away, down) is None
    assert reason_on(node(**TAINTED), node("n2", conditions={"Ready": "True"})) is Reason.NODE_DRAINING
    elsewhere = snapshot(node(**TAINTED), node("n2"), service(local=True), endpoints("web", "10.244.1.10"))
    assert decide(elsewhere).vips[VIP].reason is None


def test_without_fresh_knowledge_of_others_nothing_is_left_to_them() -> None:
    """The other Nodes are read every few minutes; when a cluster is cordoned all of them still look well."""
    objects = (node(**TAINTED), *OTHERS, service(), endpoints("web", "10.244.1.10"))

    def reason(**fields: Any) -> Reason | None:
        return decide(snapshot(*objects, **fields)).vips[VIP].reason

    assert reason(nodes_fresh=False) is None
    assert reason() is Reason.NODE_DRAINING
    assert reason(nodes_fresh=False, drain="lockstep drain") is Reason.NODE_DRAINING
    no_floor = CONFIG + "drain: {floor: 0}\n"
    assert reason(nodes_fresh=False, config_text=no_floor) is Reason.NODE_DRAINING


def test_the_last_announcers_share_the_vips() -> None:
    vips = [ip(f"203.0.113.{number}") for number in range(1, 13)]
    objects = [service(f"s{v}", vip=str(v)) for v in vips] + [endpoints(f"s{v}", "10.244.1.10") for v in vips]
    nodes = [node(f"n{number}", **TAINTED) for number in range(1, 4)]
    by_node = [decide(snapshot(*nodes, *objects, node_name=n.key.name)).drain for n in nodes]
    kept = [set(drain.kept) for drain in by_node if drain is not None]
    assert set.union(*kept) == set(vips)
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(kept, 2))
    assert all(kept), "no node keeps all, none keeps nothing"


def test_the_operator_on_the_node_is_not_overruled() -> None:
    seen = snapshot(node(), service(), endpoints("web", "10.244.1.10"), drain="lockstep drain")
    assert decide(seen).vips[VIP].reason is Reason.NODE_DRAINING


def test_external_peers_get_no_local_preference() -> None:
    text = CONFIG.replace("peer-asn: 64512", "peer-asn: 64513")
    seen = snapshot(node(), service(), endpoints("web", "10.244.1.10"), drain="lockstep drain", config_text=text)
    assert decide(seen).shed[PEER][ROUTE] == msgspec.structs.replace(MARKED, local_pref=None)


def _rib(route: Route, **fields: Any) -> dict[IPNetwork, RibEntry]:
    return {ROUTE: RibEntry(route=route, acknowledged=True, **fields)}


def _kernel(**fields: object) -> Observed:
    return observed(frontends={KEY: REMOTE}, proof=good(), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "steps"),
    [
        (_kernel(rib=announced()), ["Announce", "Shed"]),
        (_kernel(rib=_rib(MARKED)), ["Shed"]),
        (_kernel(rib=_rib(MARKED, sent=True)), ["Shed"]),
        (_kernel(rib=_rib(MARKED, sent=True), shedding={VIP: NOW + 1}), ["Shed"]),
        (_kernel(rib=_rib(MARKED, sent=True), shedding={VIP: NOW}), ["Withdraw", "AwaitSent", "Drain"]),
        (_kernel(rib=_rib(MARKED, sent=True, withdrawing=True)), ["AwaitSent", "Drain"]),
        (_kernel(), ["Drain"]),
        (_kernel(draining={VIP: NOW}, last_arrival=NOW - 0.5), ["AwaitQuiet"]),
        (_kernel(draining={VIP: NOW}, last_arrival=NOW - 2), ["RemoveFrontend"]),
        (_kernel(draining={VIP: NOW - PlanSettings().quiet_limit}, last_arrival=NOW), ["RemoveFrontend"]),
        (observed(), []),
    ],
)
def test_the_order_in_which_a_vip_leaves(seen: Observed, steps: list[str]) -> None:
    wanted = leaving(remote=True)
    assert names(plan(wanted, seen, NOW)) == steps
    assert drain_is_over(wanted, seen, NOW) is (not steps)


def test_entries_with_backends_on_this_node_stay() -> None:
    seen = observed(frontends=served(), proof=good(), draining={VIP: NOW}, last_arrival=NOW - 2)
    assert plan(leaving(), seen, NOW) == ()


def test_what_is_on_its_way_out_is_kept_right_and_proven() -> None:
    old = Frontend(key=KEY, backends=(Backend(ip("10.244.2.99"), 8080),))
    seen = observed(frontends={KEY: old}, rib=_rib(MARKED, sent=True), proof=good(), shedding={VIP: NOW + 1})
    assert names(plan(leaving(remote=True), seen, NOW)) == ["ProgramFrontend", "Verify", "Shed"]


def test_a_proof_that_fails_on_the_way_out_cuts_it_short() -> None:
    failed = msgspec.structs.replace(good(NOW - 9), ok=False)
    seen = observed(frontends={KEY: REMOTE}, rib=announced(), proof=failed)
    assert names(plan(leaving(remote=True), seen, NOW))[0] == "Withdraw"


def test_a_peer_that_is_away_is_not_waited_for() -> None:
    seen = _kernel(rib=announced(sent=False))
    peer = msgspec.structs.replace(seen.bgp.peers[PEER], state=PeerState.CONNECT)
    seen = msgspec.structs.replace(seen, bgp=msgspec.structs.replace(seen.bgp, peers={PEER: peer}))
    assert not any(isinstance(step, Shed) for step in plan(leaving(remote=True), seen, NOW))


def test_back_in_service_nothing_is_announced_on_the_strength_of_an_old_proof() -> None:
    wanted = decide(snapshot(node(), service(), endpoints("web", "10.244.1.10")))
    many = PlanSettings(renewals=0)
    old = observed(frontends=served(), proof=good(NOW - 100))
    assert names(plan(wanted, old, NOW, many)) == ["Verify", "Announce"]
