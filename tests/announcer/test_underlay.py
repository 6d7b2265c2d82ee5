"""Geneve goes to the nodes of backends: by which addresses, and what is done about nodes of which none is known."""

from __future__ import annotations

from ipaddress import IPv6Address

import msgspec
import pytest

from announcer.decide import Decider, decide
from announcer.decide.underlay import underlay_of
from announcer.model.desired import Desired, Reason
from announcer.model.lb import Backend, LbMode
from announcer.model.net import IPAddress, Protocol
from announcer.model.objects import EndpointSlice, Node, ObjectKey
from tests.announcer.build import endpoints, ip, key, node, service, snapshot

V4, V6 = ip("192.168.1.22"), IPv6Address("2001:db8:1::22")
HERE = endpoints("web", "10.244.1.10", name="web-here")
THERE = endpoints("web", "10.244.2.10", name="web-there", node_name="n2")
FURTHER = endpoints("web", "10.244.3.10", name="web-further", node_name="n3")


def decided(*objects: Node | EndpointSlice, mode: LbMode = LbMode.GENEVE, local: bool = False) -> Desired:
    return decide(snapshot(node(), service(local=local), *objects, lb_mode=mode))


def backends(desired: Desired) -> tuple[Backend, ...]:
    (frontend,) = desired.frontends.values()
    return frontend.backends


def reason(desired: Desired) -> tuple[Reason | None, str]:
    decision = desired.vips[ip("203.0.113.1")]
    return decision.reason, decision.detail


@pytest.mark.parametrize("addresses", [(V4,), (V6, V4), (V4, ip("192.168.1.99"), V6)])
def test_packets_go_to_the_first_address_of_the_family(addresses: tuple[IPAddress, ...]) -> None:
    desired = decided(node("n2", addresses=addresses), HERE, THERE)
    assert backends(desired) == (Backend(ip("10.244.1.10"), 8080, True), Backend(ip("10.244.2.10"), 8080, False, V4))
    assert desired.services[key("web")].notes == ()
    assert desired.by_nodes == {"n2"}


@pytest.mark.parametrize("mode", [LbMode.DSR, LbMode.SNAT, LbMode.HYBRID])
def test_other_modes_know_of_no_nodes(mode: LbMode) -> None:
    assert [each.node for each in backends(decided(node("n2", addresses=(V4,)), HERE, THERE, mode=mode))] == [None] * 2


@pytest.mark.parametrize("serving", [True, False])
def test_a_terminating_backend_is_reached_by_its_node_too(serving: bool) -> None:
    (there,) = THERE.endpoints
    there = msgspec.structs.replace(there, ready=False, serving=serving, terminating=True)
    ending = msgspec.structs.replace(THERE, endpoints=(there,))
    (frontend,) = decided(node("n2", addresses=(V4,)), HERE, ending).frontends.values()
    assert frontend.terminating == (Backend(ip("10.244.2.10"), 8080, False, V4),)


@pytest.mark.parametrize(
    ("unknown", "why"),
    [
        ((), "no IPv4 address is known of n2"),
        ((node("n2"),), "no IPv4 address is known of n2"),
        ((node("n2", addresses=(V6,)),), "no IPv4 address is known of n2"),
    ],
)
def test_a_backend_of_an_unknown_node_is_left_out_and_the_node_looked_for(unknown: tuple[Node, ...], why: str) -> None:
    desired = decided(*unknown, node("n3", addresses=(ip("192.168.1.23"),)), HERE, THERE, FURTHER)
    assert [str(each.address) for each in backends(desired)] == ["10.244.1.10", "10.244.3.10"]
    assert desired.services[key("web")].notes == (f"geneve: 1 endpoints on other nodes are left out: {why}",)
    assert desired.by_nodes == {"n2", "n3"}, "an address of it is looked for"
    assert reason(desired) == (None, "")


def test_a_backend_that_names_no_node_is_left_out() -> None:
    desired = decided(HERE, endpoints("web", "192.0.2.7", name="web-outside", node_name=""))
    assert len(backends(desired)) == 1
    (note,) = desired.services[key("web")].notes
    assert note == "geneve: 1 endpoints on other nodes are left out: they name no node"
    assert desired.by_nodes == frozenset()


def test_a_vip_of_which_nothing_can_be_reached_is_not_announced_from_here() -> None:
    desired = decided(THERE, FURTHER)
    why, detail = reason(desired)
    assert why is Reason.NO_LOCAL_ENDPOINTS
    left_out = "geneve: 2 endpoints on other nodes are left out: no IPv4 address is known of n2, n3"
    assert detail.endswith(f"those on others cannot be reached; {left_out}")
    assert desired.by_nodes == {"n2", "n3"}


def test_many_nodes_are_not_all_named() -> None:
    slices = [endpoints("web", f"10.244.{i}.10", name=f"web-{i}", node_name=f"n{i}") for i in range(2, 9)]
    (note,) = decided(HERE, *slices).services[key("web")].notes
    assert note.endswith("no IPv4 address is known of n2, n3, n4, ...")


def test_nobody_is_missed_where_only_local_backends_are_used() -> None:
    desired = decided(HERE, THERE, local=True)
    assert [each.local for each in backends(desired)] == [True]
    assert (desired.services[key("web")].notes, desired.by_nodes) == ((), frozenset())


def test_a_node_that_gets_known_is_used_at_the_next_decision() -> None:
    decider = Decider()
    before = snapshot(node(), service(), HERE, THERE, lb_mode=LbMode.GENEVE)
    assert len(backends(decider.decide(before))) == 1
    nodes = {**before.nodes, ObjectKey("", "n2"): node("n2", addresses=(V4,))}
    after = decider.decide(msgspec.structs.replace(before, nodes=nodes, revision=2))
    assert backends(after)[1].node == V4
    assert after.services[key("web")].notes == ()


def test_a_node_is_sent_to_as_long_as_some_vip_has_endpoints_there_that_serve() -> None:
    """One that goes and is back may have another address."""
    decider = Decider()
    other = service("other", vip="203.0.113.2")
    slices = {key("web"): (HERE, THERE), key("other"): (endpoints("other", "10.244.2.11", node_name="n2"),)}
    now = snapshot(node(), node("n2", addresses=(V4,)), service(), other, lb_mode=LbMode.GENEVE)
    ending = msgspec.structs.replace(THERE.endpoints[0], ready=False, serving=False)
    down = (HERE, msgspec.structs.replace(THERE, endpoints=(ending,)))
    seen = []
    for changed in (slices, {"web": down}, {"other": ()}, {"web": (HERE, THERE)}):
        for name, found in changed.items():
            slices = {**slices, (key(name) if isinstance(name, str) else name): found}
        now = msgspec.structs.replace(now, slices=slices, revision=now.revision + 1)
        seen.append(decider.decide(now).by_nodes)
        assert seen[-1] == decide(now).by_nodes
    assert seen == [{"n2"}, {"n2"}, set(), {"n2"}]


def test_only_udp_of_a_hybrid_with_geneve_needs_no_nodes() -> None:
    ports = [("http", Protocol.TCP, 80), ("dns", Protocol.UDP, 53)]
    there = endpoints("web", "10.244.2.10", node_name="n2", ports=[(name, kind, 8000) for name, kind, _ in ports])
    web = service(ports=ports)
    desired = decide(snapshot(node(), node("n2", addresses=(V4,)), web, there, lb_mode=LbMode.HYBRID_GENEVE))
    found = {each.protocol: frontend.backends[0].node for each, frontend in desired.frontends.items()}
    assert found == {Protocol.TCP: V4, Protocol.UDP: None}


def test_what_else_changes_of_nodes_changes_nothing_here() -> None:
    """So the ports of all Services need not be worked out anew at each sign of life of a kubelet."""
    first = {ObjectKey("", "n2"): node("n2", addresses=(V4,))}
    again = {ObjectKey("", "n2"): node("n2", addresses=(V4,), conditions={"Ready": "True"})}
    other = {ObjectKey("", "n2"): node("n2", addresses=(V6,))}
    assert underlay_of(first) is underlay_of(again)
    assert underlay_of(other) == {"n2": (V6,)}
