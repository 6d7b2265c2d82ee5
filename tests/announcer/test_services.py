"""Which addresses a Service has, and what is said of wishes that have no effect."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kubernetes import client

from announcer.decide import decide
from announcer.decide.topology import MODE_ANNOTATION
from announcer.manifests.service import SOURCE_RANGES_ANNOTATION
from announcer.model.desired import Desired, Reason
from announcer.model.lb import Backend, FrontendKey
from announcer.model.names import (
    NOT_READY_CONNECTIONS_ANNOTATION,
    READINESS_ANNOTATION,
    SHARE_ANNOTATION,
    ZERO_ENDPOINTS_ANNOTATION,
)
from announcer.model.net import Protocol
from announcer.model.objects import Service, ServicePort
from tests.announcer.build import endpoints, ip, key, net, node, service, snapshot

EXTERNAL = ip("203.0.113.5")
REFERENCE = (Path(__file__).parents[2] / "docs" / "services.md").read_text()


def decided(*services: Service) -> Desired:
    return decide(snapshot(node(addresses=(ip("203.0.113.9"),)), *services, endpoints("web", "10.244.1.10")))


def test_external_ips_inside_the_pools_are_served_like_other_vips() -> None:
    desired = decided(service(type="ClusterIP", vip=None, external_ips=(EXTERNAL,)))
    assert desired.vips[EXTERNAL].reason is None
    assert net("203.0.113.5/32") in desired.rib["10.0.0.1"]
    assert desired.frontends[FrontendKey(EXTERNAL, Protocol.TCP, 80)].backends == (
        Backend(ip("10.244.1.10"), 8080, local=True),
    )


@pytest.mark.parametrize("address", ["198.18.0.1", "10.0.0.1", "203.0.113.9", "127.0.0.1"])
def test_other_external_ips_are_refused(address: str) -> None:
    refused = decided(service(type="ClusterIP", vip=None, external_ips=(ip(address),)))
    assert refused.services[key("web")].reason is Reason.IP_NOT_ALLOWED
    assert address in refused.services[key("web")].detail
    assert not refused.frontends
    beside = decided(service(external_ips=(ip(address),)))
    assert set(beside.vips) == {ip("203.0.113.1")}
    assert beside.services[key("web")].reason is None
    assert address in beside.services[key("web")].notes[0]


@pytest.mark.parametrize("owner_name", ["a", "z"])
def test_an_external_ip_cannot_take_an_address_from_another_service(owner_name: str) -> None:
    """Not even on ports that the owner does not use, and not for being older (CVE-2020-8554)."""
    owner = service(owner_name, vip="203.0.113.5", ports=[("x", Protocol.TCP, 81)], creation_timestamp="2026")
    thief = service(type="ClusterIP", vip=None, external_ips=(EXTERNAL,), creation_timestamp="2020")
    desired = decided(owner, thief)
    assert desired.services[key("web")].reason is Reason.IP_NOT_ALLOWED
    assert f"default/{owner_name}" in desired.services[key("web")].detail
    assert {one.port for one in desired.frontends} == {81}


def test_services_of_one_group_share_an_address_by_external_ips_too() -> None:
    share = {SHARE_ANNOTATION: "group"}
    owner = service("owner", vip="203.0.113.5", ports=[("x", Protocol.TCP, 81)], annotations=share)
    desired = decided(owner, service(type="ClusterIP", vip=None, external_ips=(EXTERNAL,), annotations=share))
    assert {one.port for one in desired.frontends} == {80, 81}
    assert desired.vips[EXTERNAL].services == (key("owner"), key("web"))


@pytest.mark.parametrize(
    ("listed", "let_in"),
    [
        ((), None),
        (("192.0.2.0/24", "198.51.100.7/32"), ("192.0.2.0/24", "198.51.100.7/32")),
        (("198.51.100.0/25", "198.51.100.128/25", "198.51.100.9/32"), ("198.51.100.0/24",)),
        (("192.0.2.0/24", "2001:db8::/32"), ("192.0.2.0/24",)),
        (("0.0.0.0/0",), None),
        (("0.0.0.0/1", "128.0.0.0/1"), None),
        (("192.0.2.0/24", "0.0.0.0/0"), None),
        (("2001:db8::/32",), ()),
    ],
)
def test_source_ranges_are_those_of_the_family_and_disjoint(
    listed: tuple[str, ...], let_in: tuple[str, ...] | None
) -> None:
    desired = decided(service(source_ranges=tuple(map(ip_network, listed))))
    (frontend,) = desired.frontends.values()
    assert frontend.source_ranges == (None if let_in is None else tuple(map(ip_network, let_in)))
    assert desired.services[key("web")].reason is None
    assert ("no IPv4 client is let in" in str(desired.services[key("web")].notes)) == (let_in == ())


NOTES: list[tuple[Service, str]] = [
    (msgspec.structs.replace(service(), ports=(ServicePort(name="http", port=80, node_port=30080),)), "node ports"),
    (service(traffic_distribution="Nearest"), 'trafficDistribution "Nearest"'),
    (service(annotations={MODE_ANNOTATION: "sometimes"}), '"sometimes" is neither auto nor disabled'),
    (service(annotations={READINESS_ANNOTATION: "Ready"}), '"Ready" is not one of ready, ready-then-serving'),
    (service(annotations={ZERO_ENDPOINTS_ANNOTATION: ""}), '"" is not one of withdraw, keep'),
    (service(annotations={NOT_READY_CONNECTIONS_ANNOTATION: "yes"}), '"yes" is not one of reset, keep'),
    (
        service(annotations={"service.alpha.kubernetes.io/tolerate-unready-endpoints": "true"}),
        "publishNotReadyAddresses",
    ),
]


@pytest.mark.parametrize(("asking", "words"), NOTES, ids=[words for _, words in NOTES])
def test_a_wish_without_effect_is_said(asking: Service, words: str) -> None:
    decision = decided(asking).services[key("web")]
    assert decision.reason is None
    assert [words in note for note in decision.notes].count(True) == 1, decision.notes


def test_a_plain_service_has_no_notes() -> None:
    assert decided(service()).services[key("web")].notes == ()


@pytest.mark.parametrize("model", [client.V1ServiceSpec, client.V1ServicePort], ids=lambda model: model.__name__)
def test_the_reference_has_every_field_of_the_api(model: Any) -> None:
    """A field that Kubernetes adds has to be looked at before the client library is updated."""
    elsewhere = {"externalName"}  # of Services that have no endpoints
    fields = set(model.attribute_map.values()) - elsewhere
    assert len(fields) >= 6
    assert {name for name in fields if not re.search(rf"[`.]{name}\b", REFERENCE)} == set()


def test_the_reference_has_every_annotation_that_is_read() -> None:
    names = (READINESS_ANNOTATION, ZERO_ENDPOINTS_ANNOTATION, NOT_READY_CONNECTIONS_ANNOTATION, MODE_ANNOTATION)
    assert all(f"`{name}`" in REFERENCE for name in (*names, SHARE_ANNOTATION, SOURCE_RANGES_ANNOTATION))
