"""Kubernetes objects as the tests write them. Only what a test may want to differ is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.kube.api import Manifest

NAMESPACE = "default"


def node(name: str, address: str, pod_cidr: str = "", labels: dict[str, str] | None = None) -> Manifest:
    """A Node that is ready."""
    spec = {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]} if pod_cidr else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}],
        },
    }


def service(
    name: str,
    *,
    namespace: str = NAMESPACE,
    ports: Sequence[tuple[str, str, int, str | int]] = (("http", "TCP", 80, "http"),),
    annotations: dict[str, str] | None = None,
    ingress: Sequence[str] = (),
    **spec: Any,
) -> Manifest:
    """A Service of type LoadBalancer. ``ports``: name, protocol, port, target port. ``ingress``: its addresses."""
    made: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": name},
            "ports": [
                {"name": port_name, "protocol": protocol, "port": port, "targetPort": target}
                for port_name, protocol, port, target in ports
            ],
            **spec,
        },
    }
    if ingress:
        made["status"] = status_of(*ingress)
    return made


def status_of(*addresses: str) -> dict[str, Any]:
    """The status of a Service that has these addresses."""
    return {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"} for address in addresses]}}


def endpoint(address: str, node_name: str = "", *, ready: bool = True, **conditions: bool) -> dict[str, Any]:
    """One endpoint of a slice; ``conditions``: ``serving``, ``terminating``."""
    made: dict[str, Any] = {"addresses": [address], "conditions": {"ready": ready, **conditions}}
    if node_name:
        made["nodeName"] = node_name
    return made


def endpoint_slice(
    name: str,
    service_name: str,
    endpoints: Sequence[dict[str, Any]],
    *,
    namespace: str = NAMESPACE,
    ports: Sequence[tuple[str, str, int]] = (("http", "TCP", 8080),),
    address_type: str = "IPv4",
) -> Manifest:
    """An EndpointSlice that no controller looks after. ``ports``: name, protocol, port of the pods."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": service_name,
                "endpointslice.kubernetes.io/managed-by": "lockstep-tests",
            },
        },
        "addressType": address_type,
        "ports": [{"name": port, "protocol": protocol, "port": number} for port, protocol, number in ports],
        "endpoints": list(endpoints),
    }


def pod(
    name: str, app: str, address: str, node_name: str, *, namespace: str = NAMESPACE, ready: bool = True
) -> Manifest:
    """A pod as a kubelet would report it: bound to its node, with an address, ready or not."""
    state = "True" if ready else "False"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {
            "nodeName": node_name,
            "containers": [
                {"name": "main", "image": "example/app", "ports": [{"name": "http", "containerPort": 8080}]}
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": state}, {"type": "ContainersReady", "status": state}],
        },
    }


def config_map(text: str, *, name: str = "bgp-config", namespace: str = "kube-system") -> Manifest:
    """The ConfigMap with a bgp-config."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"config.yaml": text},
    }


def secret(name: str, values: dict[str, str], *, namespace: str = "kube-system") -> Manifest:
    """A Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": values,
    }


def service_account(name: str, *, namespace: str = "kube-system") -> Manifest:
    """A ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
