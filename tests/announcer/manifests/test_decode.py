"""Manifests to objects: defaults of the API, wrong types refused with their place."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from announcer.manifests import Origin, decode
from announcer.model.net import Protocol
from announcer.model.objects import (
    ConfigMap,
    Endpoint,
    EndpointSlice,
    KubeObject,
    Node,
    ObjectKey,
    Secret,
    Service,
    ServicePort,
    SessionAffinity,
    SlicePort,
    Taint,
    TrafficPolicy,
)

NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {rack: a}, annotations: {x: y}, unknown: 1}
spec:
  podCIDR: 10.244.1.0/24
  podCIDRs: [10.244.1.0/24, "2001:db8:1::/64"]
  unschedulable: true
  taints: [{key: a, effect: NoSchedule}]
status:
  addresses:
  - {type: InternalIP, address: 10.0.0.11}
  - {type: Hostname, address: n1}
  - {type: InternalIP, address: "2001:db8::11"}
  conditions: [{type: Ready, status: "True"}, {type: NetworkUnavailable, status: "False"}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {a: b}, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.5
  clusterIPs: [10.96.0.5, "fd00::5"]
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080}
  - {port: 53, protocol: UDP}
  externalTrafficPolicy: Local
  loadBalancerClass: example.com/lb
  loadBalancerIP: 203.0.113.9
  externalIPs: [203.0.113.11, 203.0.113.11]
  publishNotReadyAddresses: true
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  loadBalancerSourceRanges: [" 192.0.2.7/24 ", "2001:db8::/32", 192.0.2.0/24]
  healthCheckNodePort: 32000
  allocateLoadBalancerNodePorts: false
  trafficDistribution: PreferClose
status:
  loadBalancer: {ingress: [{ip: 203.0.113.10}, {hostname: lb.example}, {ip: 203.0.113.10}]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-abc, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}, {name: all, port: null}]
endpoints:
- {addresses: [10.244.1.5], conditions: {ready: true}, nodeName: n1, zone: z1}
- {addresses: [10.244.1.6], hints: {forZones: [{name: z2}, {name: z1}], forNodes: [{name: n1}]}}
- {addresses: [10.244.1.7], conditions: {ready: null, serving: null, terminating: null}}
- {addresses: [10.244.1.8], conditions: {ready: false}}
- {addresses: [10.244.1.9], conditions: {ready: false, serving: true, terminating: true}}
"""
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: bgp-config}
data: {config.yaml: "peers: []", other: ""}
binaryData: {x: AAAA}
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {password: aHVudGVyMg==, both: eA==, empty: ""}
stringData: {both: y}
"""


def load(text: str) -> Any:
    return yaml.safe_load(text)


def one(text: str) -> KubeObject:
    decoded = decode(load(text))
    assert decoded.problems == ()
    assert len(decoded.objects) == 1
    return decoded.objects[0]


def test_node() -> None:
    assert one(NODE) == Node(
        key=ObjectKey("", "n1"),
        labels={"rack": "a"},
        annotations={"x": "y"},
        pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("2001:db8:1::/64")),
        addresses=(ip_address("10.0.0.11"), ip_address("2001:db8::11")),
        unschedulable=True,
        taints=(Taint("a", "", "NoSchedule"),),
        conditions={"Ready": "True", "NetworkUnavailable": "False"},
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{podCIDR: 10.1.0.0/24}", ["10.1.0.0/24"]),
        ("{podCIDRs: [10.1.0.0/24]}", ["10.1.0.0/24"]),
        ("{podCIDR: 10.1.0.0/24, podCIDRs: [10.2.0.0/24]}", ["10.1.0.0/24", "10.2.0.0/24"]),
        ("{podCIDR: '', podCIDRs: []}", []),
        ("null", []),
    ],
)
def test_pod_cidrs_are_the_union_of_both_fields(spec: str, expected: list[str]) -> None:
    node = one(f"{{apiVersion: v1, kind: Node, metadata: {{name: n}}, spec: {spec}}}")
    assert isinstance(node, Node)
    assert [str(prefix) for prefix in node.pod_cidrs] == expected


def test_service() -> None:
    assert one(SERVICE) == Service(
        key=ObjectKey("shop", "web"),
        labels={"a": "b"},
        type="LoadBalancer",
        cluster_ips=(ip_address("10.96.0.5"), ip_address("fd00::5")),
        ports=(
            ServicePort(name="http", port=80, node_port=30080),
            ServicePort(protocol=Protocol.UDP, port=53),
        ),
        external_traffic_policy=TrafficPolicy.LOCAL,
        load_balancer_class="example.com/lb",
        requested=(ip_address("203.0.113.9"),),
        ingress=(ip_address("203.0.113.10"),),
        has_hostname=True,
        creation_timestamp="2026-01-01T00:00:00Z",
        external_ips=(ip_address("203.0.113.11"),),
        publish_not_ready=True,
        session_affinity=SessionAffinity.CLIENT_IP,
        affinity_seconds=60,
        source_ranges=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        health_check_node_port=32000,
        allocate_node_ports=False,
        traffic_distribution="PreferClose",
    )


def test_source_ranges_of_the_annotation_count_where_the_field_is_empty() -> None:
    name = "service.beta.kubernetes.io/load-balancer-source-ranges"
    text = '{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {%s: "192.0.2.0/24, 10.0.0.0/8"}}, %s}'
    old = one(text % (name, "spec: {}"))
    both = one(text % (name, "spec: {loadBalancerSourceRanges: [203.0.113.0/24]}"))
    assert isinstance(old, Service)
    assert isinstance(both, Service)
    assert old.source_ranges == (ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24"))
    assert both.source_ranges == (ip_network("203.0.113.0/24"),)


def test_a_service_with_nothing_but_a_name_has_the_defaults_of_the_api() -> None:
    assert one("{apiVersion: v1, kind: Service, metadata: {name: a}}") == Service(key=ObjectKey("default", "a"))
    headless = one("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: None, loadBalancerIP: ''}}")
    assert headless == Service(key=ObjectKey("default", "a"))


def test_endpoint_slice_with_the_defaults_of_absent_conditions() -> None:
    found = one(SLICE)
    assert isinstance(found, EndpointSlice)
    assert (found.key, found.service) == (ObjectKey("shop", "web-abc"), ObjectKey("shop", "web"))
    assert found.ports == (SlicePort(name="http", port=8080),)
    assert (found.endpoints[1].for_zones, found.endpoints[1].for_nodes) == (("z1", "z2"), ("n1",))
    assert found.endpoints[0] == Endpoint(addresses=(ip_address("10.244.1.5"),), node_name="n1", zone="z1")
    conditions = [(item.ready, item.serving, item.terminating) for item in found.endpoints]
    assert conditions == [
        (True, True, False),
        (True, True, False),
        (True, True, False),
        (False, False, False),
        (False, True, True),
    ]


def test_a_slice_of_names_has_no_endpoints() -> None:
    found = one(SLICE.replace("addressType: IPv4", "addressType: FQDN"))
    assert isinstance(found, EndpointSlice)
    assert found.endpoints == ()


def test_config_map_and_where_its_values_stand() -> None:
    origin = Origin(file="f", block=lambda path: 7 if path == ("data", "config.yaml") else 0)
    decoded = decode(load(CONFIG_MAP), origin)
    assert decoded.objects == (
        ConfigMap(
            key=ObjectKey("default", "bgp-config"),
            data={"config.yaml": "peers: []", "other": ""},
            file="f",
            lines={"config.yaml": 7, "other": 0},
        ),
    )


def test_secret_values_are_decoded_and_never_shown() -> None:
    secret = one(SECRET)
    assert isinstance(secret, Secret)
    assert secret.data == {"password": b"hunter2", "both": b"y", "empty": b""}
    assert "hunter2" not in repr(secret)


def test_lists_are_read_and_other_kinds_left_out() -> None:
    items = [load(NODE), load(SERVICE), {"kind": "Deployment", "apiVersion": "apps/v1"}]
    decoded = decode({"kind": "List", "apiVersion": "v1", "items": items})
    assert [type(item) for item in decoded.objects] == [Node, Service]
    typed = decode({"kind": "ServiceList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}]})
    assert [item.key for item in typed.objects] == [ObjectKey("default", "a")]
    assert decode({"kind": "Namespace", "apiVersion": "v1"}).objects == ()
    assert decode({"kind": "List", "items": None}).problems == ()


@pytest.mark.parametrize(
    ("text", "change", "path", "problem"),
    [
        (NODE, ("name: n1, labels", "labels"), "metadata.name", "is missing"),
        (NODE, ("{rack: a}", "{rack: 1}"), "metadata.labels.rack", "must be text, not a number"),
        (NODE, ("{rack: a}", "[rack]"), "metadata.labels", "must be a map, not a list"),
        (NODE, ("podCIDR: 10.244.1.0/24", "podCIDR: 10.244.1.1/24"), "spec.podCIDR", "is not a prefix"),
        (NODE, ('"2001:db8:1::/64"', "x"), "spec.podCIDRs[1]", "is not a prefix"),
        (
            NODE,
            ("unschedulable: true", "unschedulable: 'true'"),
            "spec.unschedulable",
            "must be true or false, not text",
        ),
        (NODE, ("10.0.0.11", "n1"), "status.addresses[0].address", "is not an IP address"),
        (NODE, ('status: "True"', "status: true"), "status.conditions[0].status", "must be text, not true or false"),
        (SERVICE, ("apiVersion: v1", "apiVersion: v2"), "apiVersion", '"v2" is not a version of Service'),
        (SERVICE, ("port: 80,", "port: '80',"), "spec.ports[0].port", "must be a number, not text"),
        (SERVICE, ("port: 80,", "port: 65536,"), "spec.ports[0].port", "65536 is not a port"),
        (SERVICE, ("port: 80,", "port: 0,"), "spec.ports[0].port", "0 is not a port"),
        (SERVICE, ("port: 80,", "port: true,"), "spec.ports[0].port", "must be a number, not true or false"),
        (SERVICE, ("{port: 53, ", "{"), "spec.ports[1].port", "is missing"),
        (SERVICE, ("nodePort: 30080", "nodePort: -1"), "spec.ports[0].nodePort", "-1 is not a port"),
        (SERVICE, ("protocol: UDP", "protocol: udp"), "spec.ports[1].protocol", '"udp" is not one of TCP, UDP, SCTP'),
        (SERVICE, ("Policy: Local", "Policy: local"), "spec.externalTrafficPolicy", "is not one of Cluster, Local"),
        (SERVICE, ("IP: 203.0.113.9", "IP: web"), "spec.loadBalancerIP", "is not an IP address"),
        (
            SERVICE,
            ("ingress: [{ip: 203.0.113.10}", "ingress: [{ip: 1}"),
            "status.loadBalancer.ingress[0].ip",
            "must be text",
        ),
        (SERVICE, ("{ingress: [", "{ingress: [a, "), "status.loadBalancer.ingress[0]", "must be a map, not text"),
        (SERVICE, ("status:", "status: []\nx:"), "status", "must be a map, not a list"),
        (SLICE, ("kubernetes.io/service-name: web", ""), 'metadata.labels["kubernetes.io/service-name"]', "is missing"),
        (SLICE, ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"), "apiVersion", "is not a version"),
        (SLICE, ("addressType: IPv4", ""), "addressType", "is missing"),
        (SLICE, ("addressType: IPv4", "addressType: ipv4"), "addressType", "must be IPv4, IPv6 or FQDN"),
        (SLICE, ("[10.244.1.5]", "['::1']"), "endpoints[0].addresses[0]", "is not of the slice's addressType"),
        (SERVICE, (" 192.0.2.7/24 ", "all"), "spec.loadBalancerSourceRanges[0]", "is not a prefix"),
        (
            SERVICE,
            ("timeoutSeconds: 60", "timeoutSeconds: 0"),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "is out of range",
        ),
        (SLICE, ("[10.244.1.6]", "[]"), "endpoints[1].addresses", "has no address"),
        (
            SLICE,
            ("{ready: true}", "{ready: 1}"),
            "endpoints[0].conditions.ready",
            "must be true or false, not a number",
        ),
        (CONFIG_MAP, ('"peers: []"', "{peers: []}"), 'data["config.yaml"]', "must be text, not a map"),
        (SECRET, ("aHVudGVyMg==", "hunter2!"), "data.password", "is not base64"),
    ],
)
def test_wrong_fields_are_refused_with_their_place(text: str, change: tuple[str, str], path: str, problem: str) -> None:
    assert text.count(change[0]) == 1
    places: list[tuple[str | int, ...]] = []

    def place(path: tuple[str | int, ...]) -> tuple[int, int]:
        places.append(path)
        return 42, 7

    decoded = decode(load(text.replace(*change)), Origin(file="f", place=place))
    assert decoded.objects == ()
    assert [(item.file, item.line, item.column, item.path) for item in decoded.problems] == [("f", 42, 7, path)]
    assert problem in decoded.problems[0].problem
    assert "hunter2" not in str(decoded.problems[0])
    assert len(places) == 1


@pytest.mark.parametrize(
    ("manifest", "hint"),
    [
        (None, "apiVersion and kind"),
        ([], "apiVersion and kind"),
        ("x", "apiVersion and kind"),
        ({"kind": 1}, "apiVersion and kind"),
        ({"peers": []}, "ConfigMap named bgp-config"),
    ],
)
def test_what_is_no_object_is_refused(manifest: Any, hint: str) -> None:
    decoded = decode(manifest)
    assert decoded.objects == ()
    assert "is not a Kubernetes object: it has no kind" in decoded.problems[0].problem
    assert hint in decoded.problems[0].hint


def test_a_bad_object_does_not_take_its_neighbors_with_it() -> None:
    decoded = decode({"kind": "List", "items": [load(NODE), {"kind": "Service", "apiVersion": "v1"}, 7]})
    assert [type(item) for item in decoded.objects] == [Node]
    assert [item.path for item in decoded.problems] == ["items[1].metadata.name", "items[2]"]


_ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["10.0.0.1", "TCP"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([NODE, SERVICE, SLICE, CONFIG_MAP, SECRET]), st.data())
def test_no_manifest_raises(text: str, data: st.DataObject) -> None:
    manifest = load(text)
    for _ in range(data.draw(st.integers(1, 3))):
        where: Any = manifest
        while isinstance(where, (dict, list)) and where:
            key = data.draw(st.sampled_from(list(where) if isinstance(where, dict) else range(len(where))))
            if data.draw(st.booleans()) or not isinstance(where[key], (dict, list)):
                where[key] = data.draw(_ANY)
                break
            where = where[key]
    decoded = decode(manifest)
    assert len(decoded.objects) <= 1
    for problem in decoded.problems:
        assert problem.problem
        assert "\n" not in str(problem)
