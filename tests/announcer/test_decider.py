"""Deciding after what was decided before must never be noticed but by the time that it saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from announcer.config import parse
from announcer.decide import Decider, decide, vips
from announcer.inputs import absorb
from announcer.model.names import READINESS_ANNOTATION
from announcer.model.net import Protocol
from announcer.model.objects import EndpointSlice, KubeObject, Node, Service, Taint
from announcer.snapshot import ConfigView, Snapshot, take_config
from announcer.sources.events import Changes, Replace
from tests.announcer.build import NODE, endpoints, ip, net, node, service

CONFIGS = (
    """
peers:
- {peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512}
- {peer-address: 10.0.0.2, peer-asn: 64513, my-asn: 64512}
address-pools:
- name: main
  protocol: bgp
  addresses: [203.0.113.0/28]
  bgp-advertisements:
  - {aggregation-length: 32, communities: ["64512:1"]}
  - {aggregation-length: 28, localpref: 50, peers: [10.0.0.1]}
- {name: other, protocol: bgp, addresses: [198.51.100.0/30]}
""",
    """
peers:
- {peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512}
address-pools:
- {name: main, protocol: bgp, addresses: [203.0.113.1/32]}
""",
    "peers: [",
)
#: Few, so that Services meet; of the last two one is in a Pod CIDR, one in no pool.
VIPS = ("203.0.113.1", "203.0.113.2", "203.0.113.1", "203.0.113.2", "198.51.100.1", "10.244.1.7", "192.0.2.1")
NAMES = ("a", "b", "c")

Happened: TypeAlias = list[tuple[str, Any]]

addresses = st.lists(st.sampled_from(VIPS), max_size=2).map(lambda found: tuple(map(ip, dict.fromkeys(found))))


@st.composite
def services(draw: st.DrawFn) -> Service:
    local = draw(st.booleans())
    shared = {"metallb.universe.tf/allow-shared-ip": "k"} if draw(st.booleans()) else {}
    wish = {READINESS_ANNOTATION: draw(st.sampled_from(("ready", "nonsense")))} if draw(st.booleans()) else {}
    return service(
        draw(st.sampled_from(NAMES)),
        vip=None,
        ports=draw(
            st.sampled_from(((("http", Protocol.TCP, 80),), (("http", Protocol.TCP, 80), ("dns", Protocol.UDP, 53))))
        ),
        local=local,
        type=draw(st.sampled_from(("LoadBalancer", "LoadBalancer", "LoadBalancer", "ClusterIP"))),
        annotations={**shared, **wish},
        ingress=draw(addresses),
        external_ips=draw(st.just(()) | st.just(()) | addresses),
        creation_timestamp=draw(st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"))),
        health_check_node_port=draw(st.sampled_from((0, 30001, 30001, 30002))) if local else 0,
        load_balancer_class=draw(st.sampled_from((*[""] * 7, "example.com/other"))),
    )


@st.composite
def slices(draw: st.DrawFn) -> EndpointSlice:
    found = draw(st.lists(st.sampled_from(("10.244.1.10", "10.244.1.11", "10.244.2.10")), max_size=3, unique=True))
    return endpoints(
        draw(st.sampled_from(NAMES)),
        *found,
        name=draw(st.sampled_from(("one", "two"))),
        node_name=draw(st.sampled_from((NODE, "n2"))),
        ready=draw(st.booleans()),
        terminating=draw(st.booleans()),
    )


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    name = draw(st.sampled_from((NODE, "n2")))
    return node(
        name,
        labels=draw(st.sampled_from(({}, {"rack": "a"}, {"lockstep/drain": "true"}))),
        addresses=(ip(draw(st.sampled_from(("192.168.1.1", "192.168.1.2", "203.0.113.2")))),),
        pod_cidrs=(net(draw(st.sampled_from(("10.244.1.0/24", "10.244.2.0/24")))),),
        taints=draw(st.sampled_from(((), (Taint(key="lockstep/drain"),)))),
    )


objects = st.one_of(*[services()] * 4, *[slices()] * 4, nodes())
#: What happens: objects change or go, a complete state comes, the configuration changes, a word on the node itself.
happenings = st.one_of(
    *[st.tuples(st.just("change"), st.lists(objects, min_size=1, max_size=2))] * 6,
    *[st.tuples(st.just("remove"), st.lists(objects, min_size=1, max_size=2))] * 3,
    st.tuples(st.just("replace"), st.lists(objects, max_size=4)),
    st.tuples(st.just("config"), st.sampled_from(CONFIGS)),
    st.tuples(st.just("drain"), st.sampled_from(("", "lockstep drain"))),
    st.tuples(st.just("fresh"), st.booleans()),
)


class World:
    """Snapshots, one after the other, as an agent has them."""

    def __init__(self, standalone: bool) -> None:
        self.standalone = standalone
        self.view = take_config(ConfigView(), parse(CONFIGS[0]).config, ())
        self.snapshot = Snapshot(revision=0, node_name=NODE, standalone=standalone)

    def present(self, item: KubeObject) -> KubeObject | None:
        """The object as the snapshot has it, if there is one of this name."""
        if isinstance(item, EndpointSlice):
            found = self.snapshot.slices.get(item.service, ())
            return next((one for one in found if one.key == item.key), None)
        held: Any = self.snapshot.nodes if isinstance(item, Node) else self.snapshot.services
        return held.get(item.key)  # type: ignore[no-any-return]

    def happen(self, what: str, value: Any) -> Snapshot:
        """The next snapshot."""
        event: Replace | Changes = Changes(synced=True)
        if what == "change":
            event = Changes(changed=tuple(value), synced=True)
        elif what == "remove":
            removed = {id(found): found for found in map(self.present, value) if found is not None}
            event = Changes(removed=tuple(removed.values()), synced=True)
        elif what == "replace":
            event = Replace(objects=tuple(value), synced=True)
        elif what == "config":
            result = parse(value)
            self.view = take_config(self.view, result.config, result.problems)
        seen = absorb(self.snapshot, event, self.view, standalone=self.standalone)
        if what == "drain":
            seen = msgspec.structs.replace(seen, drain=value)
        if what == "fresh":
            seen = msgspec.structs.replace(seen, nodes_fresh=value)
        self.snapshot = seen
        return seen


def a(vip: str | None = "203.0.113.1", **fields: Any) -> Service:
    return service("a", vip=vip, creation_timestamp="2026-01-01T00:00:00Z", **fields)


def b(vip: str | None = "203.0.113.2", **fields: Any) -> Service:
    return service("b", vip=vip, creation_timestamp="2026-01-02T00:00:00Z", **fields)


BOTH: Happened = [("change", [a(), b(), endpoints("a", "10.244.1.10"), endpoints("b", "10.244.1.11")])]
#: What chance finds too seldom.
TWO_IN_ONE_AGGREGATE: Happened = [*BOTH, ("remove", [endpoints("b")]), ("remove", [a()])]
ANOTHER_ADDRESS_BY_ITSELF: Happened = [("change", [b(None)]), ("change", [a("203.0.113.14")])]
NO_ADDRESS_LEFT_BY_ITSELF: Happened = [("config", CONFIGS[1]), ("change", [b(None)]), ("change", [a(None)])]
EXTERNAL_IP_OF_ANOTHER: Happened = [
    ("change", [b(None, type="ClusterIP", external_ips=(ip("203.0.113.1"),))]),
    ("change", [a()]),
    ("remove", [a()]),
]
A_PORT_THAT_AN_OLDER_ONE_WANTS: Happened = [("change", [b("203.0.113.1")]), ("change", [a()])]
ONE_PORT_FOR_TWO: Happened = [
    ("change", [a(local=True, health_check_node_port=30001), b(local=True, health_check_node_port=30001)]),
    ("remove", [a()]),
    ("remove", [b()]),
]


@settings(max_examples=100)
@example(False, EXTERNAL_IP_OF_ANOTHER)
@example(False, A_PORT_THAT_AN_OLDER_ONE_WANTS)
@example(False, ONE_PORT_FOR_TWO)
@example(False, TWO_IN_ONE_AGGREGATE)
@example(True, ANOTHER_ADDRESS_BY_ITSELF)
@example(True, NO_ADDRESS_LEFT_BY_ITSELF)
@given(st.booleans(), st.lists(happenings, max_size=12))
def test_it_gives_what_deciding_from_scratch_gives(standalone: bool, happened: Happened) -> None:
    world, decider = World(standalone), Decider()
    for what, value in [("replace", [node(pod_cidrs=(net("10.244.1.0/24"),))]), *happened]:
        snapshot = world.happen(what, value)
        assert decider.decide(snapshot) == decide(snapshot), what


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """The arguments of every call of a function of ``announcer.decide.vips``."""
    calls: list[Any] = []
    real: Callable[..., Any] = getattr(vips, name)

    def count(*arguments: Any) -> Any:
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(vips, name, count)
    return calls


def test_what_is_decided_anew_is_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, "_decide_vip")
    world, decider = World(standalone=False), Decider()
    several = [service(f"s{number}", vip=f"203.0.113.{number}") for number in range(1, 9)]
    decider.decide(world.happen("replace", [node(), *several]))
    assert len(calls) == 8
    for what, value, decided in (
        ("change", [endpoints("s3", "10.244.1.10")], 1),
        ("change", [node("n2", labels={"rack": "a"})], 8),  # the Nodes are about everything
        ("drain", "lockstep drain", 0),
        ("change", [service("s4", vip="203.0.113.9")], 1),
        ("remove", [several[0]], 0),
    ):
        calls.clear()
        decider.decide(world.happen(what, value))
        assert len(calls) == decided, (what, value)
