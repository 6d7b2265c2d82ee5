"""What a Service asks for, in the words of three systems."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from announcer.ipam.wishes import is_ours, share_refusal, wish_of
from announcer.manifests import decode
from announcer.model.net import Protocol
from announcer.model.objects import ObjectKey, Service, ServicePort, TrafficPolicy


def service(name: str = "a", namespace: str = "default", port: int = 80, /, **annotations: str) -> Service:
    return Service(
        key=ObjectKey(namespace, name),
        type="LoadBalancer",
        ports=(ServicePort(port=port, protocol=Protocol.TCP),),
        annotations={_NAMES[key]: value for key, value in annotations.items()},
    )


_NAMES = {
    "ours": "lockstep/addresses",
    "metallb": "metallb.universe.tf/loadBalancerIPs",
    "metallb_new": "metallb.io/loadBalancerIPs",
    "cilium": "lbipam.cilium.io/ips",
    "cilium_old": "io.cilium/lb-ipam-ips",
    "pool": "metallb.universe.tf/address-pool",
    "pool_new": "metallb.io/address-pool",
    "pool_ours": "lockstep/address-pool",
    "share": "metallb.universe.tf/allow-shared-ip",
    "share_new": "metallb.io/allow-shared-ip",
    "share_ours": "lockstep/allow-shared-ip",
    "share_cilium": "lbipam.cilium.io/sharing-key",
    "across": "lbipam.cilium.io/sharing-cross-namespace",
}


@pytest.mark.parametrize("word", ["ours", "metallb", "metallb_new", "cilium", "cilium_old"])
def test_addresses_are_read_in_every_dialect(word: str) -> None:
    wish = wish_of(service("a", **{word: "192.0.2.1, 2001:db8::1,192.0.2.1"}))
    assert (wish.addresses, wish.problem) == ((ip_address("192.0.2.1"), ip_address("2001:db8::1")), "")


@pytest.mark.parametrize("word", ["pool", "pool_new", "pool_ours"])
def test_a_pool_is_read_in_every_dialect(word: str) -> None:
    wish = wish_of(service(**{word: "gold"}))
    assert (wish.pool, wish.pool_annotation) == ("gold", _NAMES[word])


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        ({"ours": "nonsense"}, "the annotation lockstep/addresses says 'nonsense', which is not an IP address"),
        ({"ours": "192.0.2.1,"}, "the annotation lockstep/addresses says '', which is not an IP address"),
        (
            {"metallb": "192.0.2.1", "cilium": "192.0.2.2"},
            "metallb.universe.tf/loadBalancerIPs and lbipam.cilium.io/ips ask for different addresses",
        ),
        ({"metallb": "192.0.2.1", "cilium": "192.0.2.1"}, ""),
        (
            {"pool": "a", "pool_ours": "b"},
            "the annotations lockstep/address-pool and metallb.universe.tf/address-pool contradict each other",
        ),
        ({"pool": "a", "pool_ours": "a"}, ""),
    ],
)
def test_nothing_is_guessed(annotations: dict[str, str], problem: str) -> None:
    assert wish_of(service(**annotations)).problem == problem


def test_the_field_and_an_annotation_must_agree() -> None:
    both = msgspec.structs.replace(service(metallb="192.0.2.1"), requested=(ip_address("192.0.2.2"),))
    assert "and spec.loadBalancerIP ask for different addresses" in wish_of(both).problem


@pytest.mark.parametrize(
    ("one", "other", "refusal"),
    [
        (service(share="k"), service("b", "default", 81, share_new="k"), ""),
        (service(share_ours="k"), service("b", "elsewhere", 81, share="k"), ""),
        (service(share="k"), service("b", "default", 81), "same annotation"),
        (service(), service("b", "default", 81), "same annotation"),
        (service(share="k"), service("b", share="k"), "both have the port 80/TCP"),
        (service(share_cilium="k"), service("b", "default", 81, share_cilium="k"), ""),
        (service(share_cilium="k"), service("b", "elsewhere", 81, share_cilium="k"), "same annotation"),
        (service(share_cilium="k", across="*"), service("b", "x", 81, share_cilium="k"), "same annotation"),
        (
            service(share_cilium="k", across="*"),
            service("b", "x", 81, share_cilium="k", across="y, default"),
            "",
        ),
    ],
)
def test_who_may_share(one: Service, other: Service, refusal: str) -> None:
    for pair in ((one, other), (other, one)):
        found = share_refusal(*map(wish_of, pair))
        assert (refusal in found) if refusal else not found


def test_with_traffic_policy_local_the_backends_must_be_the_same() -> None:
    def local(name: str, port: int, policy: TrafficPolicy, **selector: str) -> Service:
        return Service(
            key=ObjectKey("default", name),
            ports=(ServicePort(port=port),),
            annotations={"lockstep/allow-shared-ip": "k"},
            external_traffic_policy=policy,
            selector=selector,
        )

    one = wish_of(local("a", 80, TrafficPolicy.LOCAL, app="web"))
    assert not share_refusal(one, wish_of(local("b", 81, TrafficPolicy.LOCAL, app="web")))
    assert "selector" in share_refusal(one, wish_of(local("b", 81, TrafficPolicy.LOCAL, app="other")))
    assert "selector" in share_refusal(one, wish_of(local("b", 81, TrafficPolicy.CLUSTER, app="web")))
    cluster = wish_of(local("c", 82, TrafficPolicy.CLUSTER, app="web"))
    assert not share_refusal(cluster, wish_of(local("d", 83, TrafficPolicy.CLUSTER, app="other")))


def _decoded(**spec: Any) -> Service:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec}
    (found,) = decode(manifest).objects
    assert isinstance(found, Service)
    return found


def test_families_come_from_the_spec_and_else_from_the_cluster_ips() -> None:
    wish = wish_of(_decoded(ipFamilies=["IPv6", "IPv4"], ipFamilyPolicy="RequireDualStack", clusterIP="10.0.0.1"))
    assert (wish.families, wish.every_family) == ((6, 4), True)
    wish = wish_of(_decoded(clusterIPs=["10.0.0.1", "fd00::1"], ipFamilyPolicy="PreferDualStack"))
    assert (wish.families, wish.every_family) == ((4, 6), False)


def test_ours_are_load_balancers_of_our_class_or_none() -> None:
    classes = [("LoadBalancer", ""), ("LoadBalancer", "lockstep/bgp"), ("LoadBalancer", "x/y"), ("ClusterIP", "")]
    found = [is_ours(_decoded(type=kind, loadBalancerClass=name)) for kind, name in classes]
    assert found == [True, True, False, False]
