"""Are the names of fields those of the API? Measured against the models of the Kubernetes client.

Objects are made by the client's typed constructors and turned into JSON by the client itself, so every spelling comes
from the generated API description and none from us.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from announcer.manifests import decode
from announcer.model.objects import ConfigMap, EndpointSlice, KubeObject, Node, Secret, Service


def through_json(model: Any) -> Any:
    """The model as an API server would send it."""
    return json.loads(json.dumps(client.ApiClient().sanitize_for_serialization(model)))


def decoded(model: Any) -> KubeObject:
    result = decode(through_json(model))
    assert result.problems == ()
    assert len(result.objects) == 1
    return result.objects[0]


def meta(name: str, **fields: Any) -> Any:
    return client.V1ObjectMeta(name=name, **fields)


def test_node() -> None:
    model = client.V1Node(
        api_version="v1",
        kind="Node",
        metadata=meta("n1", labels={"a": "b"}, annotations={"c": "d"}),
        spec=client.V1NodeSpec(
            pod_cidr="10.1.0.0/24",
            pod_cidrs=["10.1.0.0/24", "2001:db8::/64"],
            unschedulable=True,
            taints=[client.V1Taint(key="k", value="v", effect="NoExecute")],
        ),
        status=client.V1NodeStatus(
            addresses=[client.V1NodeAddress(type="InternalIP", address="10.0.0.1")],
            conditions=[client.V1NodeCondition(type="Ready", status="True")],
        ),
    )
    node = decoded(model)
    assert isinstance(node, Node)
    assert node.key.name == model.metadata.name
    assert (node.labels, node.annotations) == (model.metadata.labels, model.metadata.annotations)
    assert [str(prefix) for prefix in node.pod_cidrs] == model.spec.pod_cidrs
    assert [str(address) for address in node.addresses] == ["10.0.0.1"]
    assert node.unschedulable is model.spec.unschedulable
    assert [(item.key, item.value, item.effect) for item in node.taints] == [("k", "v", "NoExecute")]
    assert node.conditions == {"Ready": "True"}


def test_service() -> None:
    model = client.V1Service(
        api_version="v1",
        kind="Service",
        metadata=meta("web", namespace="shop", creation_timestamp="2026-01-01T00:00:00Z"),
        spec=client.V1ServiceSpec(
            type="LoadBalancer",
            cluster_ip="10.96.0.1",
            cluster_ips=["10.96.0.1", "fd00::1"],
            external_traffic_policy="Local",
            load_balancer_class="example.com/x",
            load_balancer_ip="203.0.113.1",
            external_ips=["203.0.113.3"],
            publish_not_ready_addresses=True,
            session_affinity="ClientIP",
            session_affinity_config=client.V1SessionAffinityConfig(
                client_ip=client.V1ClientIPConfig(timeout_seconds=60)
            ),
            load_balancer_source_ranges=["192.0.2.0/24"],
            health_check_node_port=32000,
            allocate_load_balancer_node_ports=False,
            traffic_distribution="PreferClose",
            ports=[client.V1ServicePort(name="dns", port=53, protocol="UDP", node_port=30053, target_port="dns")],
        ),
        status=client.V1ServiceStatus(
            load_balancer=client.V1LoadBalancerStatus(
                ingress=[client.V1LoadBalancerIngress(ip="203.0.113.2"), client.V1LoadBalancerIngress(hostname="x")]
            )
        ),
    )
    service = decoded(model)
    assert isinstance(service, Service)
    assert (service.key.namespace, service.key.name) == ("shop", "web")
    assert service.type == model.spec.type
    assert [str(address) for address in service.cluster_ips] == model.spec.cluster_ips
    assert service.external_traffic_policy == model.spec.external_traffic_policy
    assert service.load_balancer_class == model.spec.load_balancer_class
    assert [str(address) for address in service.requested] == [model.spec.load_balancer_ip]
    assert [str(address) for address in service.ingress] == ["203.0.113.2"]
    assert service.creation_timestamp == through_json(model)["metadata"]["creationTimestamp"]
    assert service.creation_timestamp.startswith("2026-01-01T00:00:00")
    assert [str(address) for address in service.external_ips] == model.spec.external_ips
    assert service.publish_not_ready is model.spec.publish_not_ready_addresses
    assert (service.session_affinity, service.affinity_seconds) == ("ClientIP", 60)
    assert [str(prefix) for prefix in service.source_ranges] == model.spec.load_balancer_source_ranges
    assert service.health_check_node_port == model.spec.health_check_node_port
    assert service.allocate_node_ports is model.spec.allocate_load_balancer_node_ports
    assert service.traffic_distribution == model.spec.traffic_distribution
    port = service.ports[0]
    assert (port.name, port.port, port.protocol, port.node_port) == ("dns", 53, "UDP", 30053)


def test_endpoint_slice() -> None:
    model = client.V1EndpointSlice(
        api_version="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=meta("web-1", namespace="shop", labels={"kubernetes.io/service-name": "web"}),
        address_type="IPv4",
        ports=[client.DiscoveryV1EndpointPort(name="http", port=8080, protocol="TCP")],
        endpoints=[
            client.V1Endpoint(
                addresses=["10.1.0.5"],
                node_name="n1",
                zone="z1",
                conditions=client.V1EndpointConditions(ready=False, serving=True, terminating=True),
                hints=client.V1EndpointHints(
                    for_zones=[client.V1ForZone(name="z1")], for_nodes=[client.V1ForNode(name="n1")]
                ),
            ),
            client.V1Endpoint(addresses=["10.1.0.6"], conditions=client.V1EndpointConditions()),
        ],
    )
    found = decoded(model)
    assert isinstance(found, EndpointSlice)
    assert (found.service.namespace, found.service.name) == ("shop", "web")
    assert [(item.name, item.port, item.protocol) for item in found.ports] == [("http", 8080, "TCP")]
    first, second = found.endpoints
    assert (str(first.addresses[0]), first.node_name, first.zone) == ("10.1.0.5", "n1", "z1")
    assert (first.for_zones, first.for_nodes) == (("z1",), ("n1",))
    assert (first.ready, first.serving, first.terminating) == (False, True, True)
    assert (second.ready, second.serving, second.terminating) == (True, True, False)


def test_config_map() -> None:
    model = client.V1ConfigMap(api_version="v1", kind="ConfigMap", metadata=meta("c"), data={"config.yaml": "x"})
    found = decoded(model)
    assert isinstance(found, ConfigMap)
    assert found.data == model.data


def test_secret() -> None:
    model = client.V1Secret(
        api_version="v1", kind="Secret", metadata=meta("s"), data={"a": "eA=="}, string_data={"b": "y"}
    )
    found = decoded(model)
    assert isinstance(found, Secret)
    assert found.data == {"a": b"x", "b": b"y"}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda items: client.V1NodeList(api_version="v1", kind="NodeList", items=items), "Node"),
        (lambda items: client.V1NodeList(api_version="v1", kind="List", items=items), "Node"),
    ],
)
def test_lists(make: Callable[[list[Any]], Any], kind: str) -> None:
    model = make([client.V1Node(api_version="v1", kind=kind, metadata=meta(name)) for name in "ab"])
    assert [item.key.name for item in decode(through_json(model)).objects] == ["a", "b"]
