"""What the ServiceAccounts may do, verb by verb, as a real API server judges it.

Both ways: with a token of each account, what it needs succeeds and everything else is refused with 403; and the API
server's own view of every verb on every resource that it serves (SelfSubjectAccessReview) holds nothing else.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.chart.helm import NAMESPACE
from tests.kube.api import Api, ApiError
from tests.kube.server import KubeServer

#: Helm, or an API server: `make kube` builds both.
pytestmark = pytest.mark.kube

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")

#: (API group, resource, namespace, name, verb): all that each account may do. An empty name: any; "*": any namespace.
Right = tuple[str, str, str, str, str]


def _rights(group: str, resource: str, verbs: str, namespace: str = "*", name: str = "") -> set[Right]:
    return {(group, resource, namespace, name, verb) for verb in verbs.split()}


ALLOWED: dict[str, set[Right]] = {
    "agent": {
        *_rights("", "nodes", "list watch"),
        *_rights("", "services", "get list watch"),
        *_rights("discovery.k8s.io", "endpointslices", "list watch"),
        *_rights("", "events", "create"),
        *_rights("", "configmaps", "list watch", NAMESPACE, "bgp-config"),
        *_rights("", "secrets", "list watch", NAMESPACE, "bgp-password"),
    },
    "speaker": set(),
    "allocator": {
        *_rights("", "nodes", "list watch"),
        *_rights("", "services", "list watch"),
        *_rights("", "services/status", "patch"),
        *_rights("", "events", "create"),
        *_rights("", "configmaps", "list watch", NAMESPACE, "bgp-config"),
        *_rights("coordination.k8s.io", "leases", "create", NAMESPACE),
        *_rights("coordination.k8s.io", "leases", "get update", NAMESPACE, "lockstep-allocator"),
    },
}


def client(kube: KubeServer, component: str) -> Api:
    return kube.as_token(kube.admin.token(NAMESPACE, f"lockstep-{component}"))


def may(api: Api, right: Right) -> bool:
    group, resource, namespace, name, verb = right
    resource, _, subresource = resource.partition("/")
    attributes = {"group": group, "resource": resource, "subresource": subresource, "verb": verb, "name": name}
    attributes["namespace"] = "" if namespace == "*" else namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    made = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(made["status"]["allowed"])


def resources(kube: KubeServer) -> list[tuple[str, str]]:
    """Every resource and subresource that the API server serves, as (group, resource)."""
    found = {("", item["name"]) for item in kube.admin.request("GET", "/api/v1")["resources"]}
    for group in kube.admin.request("GET", "/apis")["groups"]:
        version = group["preferredVersion"]["groupVersion"]
        listed = kube.admin.request("GET", f"/apis/{version}")["resources"]
        found |= {(group["name"], item["name"]) for item in listed}
    # What everybody who is authenticated may ask about himself.
    return sorted(pair for pair in found if not pair[1].startswith("self"))


@pytest.mark.parametrize("component", ALLOWED)
def test_nothing_is_allowed_but_what_is_listed(installed: KubeServer, component: str) -> None:
    """Over every verb of every resource, for any object of any namespace."""
    api = client(installed, component)
    everywhere = {
        (group, resource, verb)
        for group, resource, space, name, verb in ALLOWED[component]
        if (space, name) == ("*", "")
    }
    rules = _rules(api, "default")
    served = resources(installed)
    assert len(served) > 80
    for (group, resource), verb in product(served, VERBS):
        wanted = (group, resource, verb) in everywhere
        assert _covers(rules, group, resource, "", verb) == wanted, (group, resource, verb)
    # The rules say it, and the judge agrees.
    for group, resource, space, name, verb in ALLOWED[component]:
        assert may(api, (group, resource, space, name, verb)), (group, resource, verb)


@pytest.mark.parametrize("component", ALLOWED)
def test_in_its_own_namespace_it_may_do_little_more(installed: KubeServer, component: str) -> None:
    api = client(installed, component)
    named = {"configmaps": "bgp-config", "secrets": "bgp-password", "leases": "lockstep-allocator"}
    rules = _rules(api, NAMESPACE)
    for (group, resource), verb in product(resources(installed), VERBS):
        for name in ("", "another", *filter(None, [named.get(resource)])):
            wanted = any(
                (group, resource, verb) == (right[0], right[1], right[4])
                and right[2] in ("*", NAMESPACE)
                and right[3] in ("", name)
                for right in ALLOWED[component]
            )
            assert _covers(rules, group, resource, name, verb) == wanted, (group, resource, name, verb)


def _rules(api: Api, namespace: str) -> list[dict[str, Any]]:
    """What the API server's authorizer would let this token do (SelfSubjectRulesReview)."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    status = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)["status"]
    assert status["incomplete"] is False
    return list(status["resourceRules"])


def _covers(rules: list[dict[str, Any]], group: str, resource: str, name: str, verb: str) -> bool:
    return any(
        {group, "*"} & set(rule["apiGroups"])
        and {resource, "*"} & set(rule["resources"])
        and {verb, "*"} & set(rule["verbs"])
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for rule in rules
    )


def _status(api: Api, method: str, path: str, body: Any = None, **query: str) -> int:
    try:
        api.request(method, path, body, query)
    except ApiError as error:
        return error.code
    return 200


_SYSTEM = f"/api/v1/namespaces/{NAMESPACE}"


@pytest.mark.parametrize(
    ("method", "path", "agent", "allocator"),
    [
        ("GET", "/api/v1/services", 200, 200),
        ("GET", "/api/v1/nodes", 200, 200),
        ("GET", "/api/v1/nodes/n1", 403, 403),
        ("GET", "/apis/discovery.k8s.io/v1/endpointslices", 200, 403),
        ("GET", f"{_SYSTEM}/configmaps?fieldSelector=metadata.name=bgp-config", 200, 200),
        ("GET", f"{_SYSTEM}/configmaps", 403, 403),
        ("GET", "/api/v1/configmaps", 403, 403),
        ("GET", f"{_SYSTEM}/secrets?fieldSelector=metadata.name=bgp-password", 200, 403),
        ("GET", f"{_SYSTEM}/secrets?fieldSelector=metadata.name=another", 403, 403),
        ("GET", f"{_SYSTEM}/secrets", 403, 403),
        ("GET", "/api/v1/secrets", 403, 403),
        ("GET", "/api/v1/pods", 403, 403),
        ("DELETE", "/api/v1/namespaces/default/services/web", 403, 403),
        ("DELETE", "/api/v1/nodes/n1", 403, 403),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", 403, 403),
        ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/lockstep-allocator", 403, 404),
        ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases", 403, 403),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", 403, 403),
    ],
)
def test_requests_with_a_token(installed: KubeServer, method: str, path: str, agent: int, allocator: int) -> None:
    for component, wanted in (("agent", agent), ("allocator", allocator), ("speaker", 403)):
        assert _status(client(installed, component), method, path) == wanted, component


def test_only_the_allocator_writes_to_services_and_only_to_their_status(installed: KubeServer) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    }
    installed.admin.create(manifest)
    change = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}}
    for component, wanted in (("agent", 403), ("speaker", 403), ("allocator", 200)):
        api = client(installed, component)
        for subresource, code in (("status", wanted), ("", 403)):
            try:
                api.patch("Service", "default", "web", change, subresource)
                found = 200
            except ApiError as error:
                found = error.code
            assert found == code, (component, subresource)
