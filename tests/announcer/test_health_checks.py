"""Which Services have a health check, and what it says of this node."""

from __future__ import annotations

import msgspec
import pytest

from announcer.decide import decide
from announcer.decide.vips import EXCLUDE_LABEL, NETWORK_UNAVAILABLE
from announcer.model.desired import Desired, HealthCheck, Reason
from announcer.model.net import Protocol
from announcer.model.objects import EndpointSlice, Node, Service
from tests.announcer.build import endpoints, ip, key, node, service, snapshot

PORT = 32000
LOCAL = service(local=True, health_check_node_port=PORT)
HERE = endpoints("web", "10.244.1.10", "10.244.1.11")
THERE = endpoints("web", "10.244.2.10", node_name="n2", name="web-2")


def checks(*objects: Node | Service | EndpointSlice, drain: str = "") -> tuple[HealthCheck, ...]:
    return decide(snapshot(*objects, drain=drain)).health_checks


def test_local_endpoints_are_counted_by_address() -> None:
    two_ports = service(
        local=True, ports=[("http", Protocol.TCP, 80), ("alt", Protocol.TCP, 81)], health_check_node_port=PORT
    )
    both = endpoints(
        "web", "10.244.1.10", "10.244.1.11", ports=[("http", Protocol.TCP, 8080), ("alt", Protocol.TCP, 1)]
    )
    expected = HealthCheck(service=key("web"), port=PORT, vips=(ip("203.0.113.1"),), local_endpoints=2)
    assert checks(node(), two_ports, both, THERE) == (expected,)


@pytest.mark.parametrize(
    ("states", "count"),
    [
        ((HERE, THERE), 2),
        ((THERE,), 0),
        ((), 0),
        ((endpoints("web", "10.244.1.10", ready=False),), 0),
        ((endpoints("web", "10.244.1.10", ready=False, terminating=True), THERE), 0),
        ((endpoints("web", "10.244.1.10", ready=False, terminating=True),), 1),
    ],
    ids=["both", "elsewhere", "nowhere", "not ready", "terminating, others ready", "terminating, the last"],
)
def test_the_count_is_of_endpoints_that_would_make_the_node_announce(
    states: tuple[EndpointSlice, ...], count: int
) -> None:
    (check,) = checks(node(), LOCAL, *states)
    assert check.local_endpoints == count
    desired: Desired = decide(snapshot(node(), LOCAL, *states))
    assert (desired.vips[ip("203.0.113.1")].reason is None) is bool(count)


@pytest.mark.parametrize(
    ("this", "drain", "refused"),
    [
        (node(), "", None),
        (node(labels={EXCLUDE_LABEL: ""}), "", Reason.NODE_EXCLUDED),
        (node(conditions={NETWORK_UNAVAILABLE: "True"}), "", Reason.NODE_NETWORK_UNAVAILABLE),
        (node(), "lockstep drain", Reason.NODE_DRAINING),
    ],
)
def test_a_node_that_wants_no_traffic_says_so(this: Node, drain: str, refused: Reason | None) -> None:
    (check,) = checks(this, LOCAL, HERE, drain=drain)
    assert check.refused is refused
    assert check.local_endpoints == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"external_traffic_policy": "Cluster"},
        {"health_check_node_port": 0},
        {"type": "ClusterIP"},
        {"ingress": ()},
        {"ingress": (ip("198.18.0.1"),)},
    ],
    ids=["Cluster", "no port", "another type", "no VIP", "a VIP that is not allowed"],
)
def test_other_services_have_none(fields: dict[str, object]) -> None:
    assert checks(node(), LOCAL, HERE)
    assert checks(node(), msgspec.structs.replace(LOCAL, **fields), HERE) == ()


def test_a_port_of_two_services_is_answered_for_the_older_one() -> None:
    young = service("young", vip="203.0.113.2", local=True, health_check_node_port=PORT, creation_timestamp="2026")
    desired = decide(snapshot(node(), LOCAL, young, HERE))
    assert [check.service for check in desired.health_checks] == [key("web")]
    assert "default/web" in desired.services[key("young")].notes[0]
    assert desired.services[key("young")].reason is None
