"""The manifests of ``configs/standalone`` describe the very network that the lab builds; the demo rests on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.lab.plan import HTTP_PORT, UDP_PORT, Plan, make_plan

FOLDER = Path(__file__).parents[2] / "configs" / "standalone"


def objects(kind: str) -> list[Any]:
    manifests = [yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))]
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def plan() -> Plan:
    return make_plan(2, 2, "192.168.1.11", 64512, 64512)


def test_nodes() -> None:
    described = {
        (node["metadata"]["name"], node["status"]["addresses"][0]["address"], *node["spec"]["podCIDRs"])
        for node in objects("Node")
    }
    assert described == {(node.name, str(node.address), str(node.pod_cidr)) for node in plan().nodes}


def test_endpoints_are_the_pods() -> None:
    (endpoint_slice,) = objects("EndpointSlice")
    described = {(e["nodeName"], *e["addresses"]) for e in endpoint_slice["endpoints"]}
    assert described == {(node.name, str(pod.address)) for node in plan().nodes for pod in node.pods}
    ports = {(port["name"], port["protocol"], port["port"]) for port in endpoint_slice["ports"]}
    assert ports == {("http", "TCP", HTTP_PORT), ("dns", "UDP", UDP_PORT)}


def test_service_and_slice_belong_together() -> None:
    (service,), (endpoint_slice,) = objects("Service"), objects("EndpointSlice")
    assert endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
    assert {port["name"] for port in service["spec"]["ports"]} == {port["name"] for port in endpoint_slice["ports"]}


def test_peer_is_the_router() -> None:
    (config_map,) = objects("ConfigMap")
    (peer,) = yaml.safe_load(config_map["data"]["config.yaml"])["peers"]
    asked = plan()
    assert peer == {
        "peer-address": str(asked.router_address),
        "peer-asn": asked.router_asn,
        "my-asn": asked.node_asn,
    }
