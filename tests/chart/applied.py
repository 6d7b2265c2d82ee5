"""The chart in a real API server."""

from __future__ import annotations

from tests.chart.helm import NAMESPACE
from tests.kube.api import PATCH_TYPES, ApiError, Manifest
from tests.kube.server import KubeServer
from tests.lab import until

_PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "NetworkPolicy": "networkpolicies",
    "PodMonitor": "podmonitors",
    "PrometheusRule": "prometheusrules",
}


def path_of(item: Manifest) -> str:
    """Where an object of the chart is."""
    version = item["apiVersion"]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    namespace = item["metadata"].get("namespace")
    middle = f"/namespaces/{namespace}" if namespace else ""
    return f"{base}{middle}/{_PLURALS[item['kind']]}/{item['metadata']['name']}"


def apply(kube: KubeServer, item: Manifest, **query: str) -> Manifest:
    """Server-side apply, as strict as the API server can be about fields that it does not know."""
    query = {"fieldManager": "chart", "fieldValidation": "Strict", "force": "true", **query}
    made: Manifest = kube.admin.request("PATCH", path_of(item), item, query, content_type=PATCH_TYPES["apply"])
    return made


def make_namespace(kube: KubeServer) -> None:
    """The namespace of the release; there is no harm if it exists."""
    _create(kube, f"/api/v1/namespaces/{NAMESPACE}", {"apiVersion": "v1", "kind": "Namespace"}, NAMESPACE)


def make_monitoring_kinds(kube: KubeServer) -> None:
    """The Prometheus operator's own definitions are not at hand: the group, the names, and any content."""
    for plural, kind in (("podmonitors", "PodMonitor"), ("prometheusrules", "PrometheusRule")):
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "spec": {
                "group": "monitoring.coreos.com",
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
        name = f"{plural}.monitoring.coreos.com"
        _create(kube, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", definition, name)
        until(lambda plural=plural: _is_served(kube, plural), f"{plural} are served", 60)  # type: ignore[misc]


def _create(kube: KubeServer, path: str, manifest: Manifest, name: str) -> None:
    manifest = {**manifest, "metadata": {"name": name}}
    kube.admin.request("PATCH", path, manifest, {"fieldManager": "tests"}, content_type=PATCH_TYPES["apply"])


def _is_served(kube: KubeServer, plural: str) -> bool:
    try:
        kube.admin.request("GET", f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}/{plural}")
    except ApiError:
        return False
    return True
