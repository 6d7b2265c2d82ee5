"""The API server of the tests is a real one: what the product relies on is seen here first."""

from __future__ import annotations

import pytest

from tests.kube import objects
from tests.kube.api import Api, ApiError, Manifest
from tests.kube.server import KubeServer
from tests.lab.poll import until

pytestmark = pytest.mark.kube


def test_a_watch_that_asks_for_initial_events_ends_them_with_a_bookmark(kube: KubeServer) -> None:
    kube.admin.create(objects.service("web"))
    options = {
        "allowWatchBookmarks": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "resourceVersion": "",
    }
    events: list[Manifest] = []
    for event in kube.admin.watch("Service", 60, **options):
        events.append(event)
        if event["type"] == "BOOKMARK":
            break
    names = {event["object"]["metadata"]["name"] for event in events if event["type"] == "ADDED"}
    assert "web" in names
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_list_of_a_version_that_does_not_exist_yet_says_so(kube: KubeServer) -> None:
    with pytest.raises(ApiError) as refused:
        kube.admin.get("Service", resourceVersion="999999999", resourceVersionMatch="NotOlderThan")
    assert refused.value.code == 504


def may_list(api: Api) -> bool:
    try:
        api.items("Service", "default")
    except ApiError as error:
        if error.code != 403:
            raise
        return False
    return True


def test_a_token_may_do_what_its_role_says_and_nothing_else(kube: KubeServer) -> None:
    kube.admin.create(objects.service_account("looker", namespace="default"))
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}]
    kube.admin.create({**role, "metadata": {"name": "looker", "namespace": "default"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "looker", "namespace": "default"}
    kube.admin.create(
        {
            **role,
            "kind": "RoleBinding",
            "metadata": {"name": "looker", "namespace": "default"},
            "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looker"},
        }
    )
    looker = kube.as_token(kube.admin.token("default", "looker"))
    # It judges by watches of its own, so a role counts a moment after it was made.
    until(lambda: may_list(looker), "the role counts", 15)
    with pytest.raises(ApiError) as refused:
        looker.create(objects.service("web"))
    assert refused.value.code == 403
    with pytest.raises(ApiError) as unknown:
        kube.as_token("nonsense").items("Service", "default")
    assert unknown.value.code == 401
    for kind in ("RoleBinding", "Role", "ServiceAccount"):
        kube.admin.delete(kind, "default", "looker")


def test_a_ready_pod_without_a_kubelet_becomes_an_endpoint(controllers: KubeServer) -> None:
    admin = controllers.admin
    admin.create(objects.node("n1", "192.168.1.21"))
    admin.create(objects.service("web"))
    admin.create(objects.pod("web-1", "web", "10.244.1.11", "n1"))

    def endpoints() -> list[Manifest]:
        slices = admin.items("EndpointSlice", "default", labelSelector="kubernetes.io/service-name=web")
        return [endpoint for piece in slices for endpoint in piece.get("endpoints") or ()]

    (endpoint,) = until(endpoints, "the controller has made the slice", 60)
    assert endpoint["addresses"] == ["10.244.1.11"]
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert until(lambda: admin.get("Node", "", "n1")["spec"].get("podCIDR"), "the node has a Pod CIDR", 60)


def test_a_watch_from_before_a_restart_is_told_that_its_version_is_gone(kube: KubeServer) -> None:
    before = kube.admin.get("Service")["metadata"]["resourceVersion"]
    kube.admin.create(objects.service("web"))
    kube.stop_api()
    kube.start_api()
    assert "web" in {item["metadata"]["name"] for item in kube.admin.items("Service")}, "etcd has kept it"
    (event,) = kube.admin.watch("Service", 5, resourceVersion=before)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
