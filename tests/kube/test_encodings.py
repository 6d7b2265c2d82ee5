"""Protobuf held against JSON, with a real API server: the same objects, asked for in both, mean the same.

That also holds the numbers of ``announcer/sources/kube/wire/messages.py`` to what the server writes: every field
that is used is set here to something that is not its default.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from announcer.model.names import ALLOCATED_CONDITION
from announcer.model.objects import Kind
from announcer.sources.kube import ClusterAccess, Timing
from announcer.sources.kube.access import Connection
from announcer.sources.kube.resources import ENDPOINT_SLICES, SERVICES, Resource, other_nodes
from announcer.sources.kube.wire import Page, RemoteObject, StatusObject, WireEvent, accept, encoding_of, read_object
from tests.kube import objects
from tests.kube.api import Manifest
from tests.kube.server import KubeServer
from tests.kube.worlds import run_over_tls

pytestmark = pytest.mark.kube

NODES = other_nodes("")

SERVICE = objects.service(
    "full",
    annotations={"lockstep/readiness": "ready", "lang": "ä"},
    ports=(("http", "TCP", 80, "http"), ("dns", "UDP", 53, 5353)),
    externalIPs=["198.51.100.7"],
    externalTrafficPolicy="Local",
    healthCheckNodePort=32109,
    ipFamilyPolicy="PreferDualStack",
    loadBalancerClass="example.com/other",
    loadBalancerIP="203.0.113.4",
    loadBalancerSourceRanges=["192.0.2.0/24"],
    publishNotReadyAddresses=True,
    sessionAffinity="ClientIP",
    sessionAffinityConfig={"clientIP": {"timeoutSeconds": 77}},
    trafficDistribution="PreferClose",
)
SERVICE["metadata"]["labels"] = {"app": "full", "empty": ""}
STATUS = {
    "loadBalancer": {"ingress": [{"ip": "203.0.113.4", "ipMode": "VIP"}, {"hostname": "lb.example.com"}]},
    "conditions": [
        {
            "type": ALLOCATED_CONDITION,
            "status": "True",
            "reason": "Allocated",
            "message": "from default",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
    ],
}
BARE = objects.service("bare", type="ClusterIP", ports=(("", "TCP", 80, 8080),))
NO_NODE_PORTS = objects.service("no-node-ports", allocateLoadBalancerNodePorts=False)

ENDPOINTS: list[dict[str, Any]] = [
    {
        "addresses": ["10.1.0.1", "10.1.0.2"],
        "conditions": {"ready": False, "serving": True, "terminating": True},
        "nodeName": "n1",
        "zone": "a",
        "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n1"}]},
    },
    {"addresses": ["10.1.0.3"]},
    {"addresses": ["10.1.0.4"], "conditions": {"ready": True, "serving": False, "terminating": False}},
]
SLICE = objects.endpoint_slice(
    "full-1", "full", ENDPOINTS, ports=(("http", "TCP", 8080), ("dns", "UDP", 5353), ("", "SCTP", 9999))
)
SLICE["ports"].append({"name": "any"})
EMPTY = {**objects.endpoint_slice("full-2", "bare", [], address_type="IPv6"), "endpoints": None, "ports": None}

NODE = objects.node("full", "192.168.1.21", "10.244.1.0/24", {"rack": "a"})
NODE["metadata"]["annotations"] = {"lockstep/drain": "true"}
NODE["status"]["conditions"].append({"type": "NetworkUnavailable", "status": "False", "reason": "Test", "message": ""})
NODE["spec"] |= {
    "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"],
    "unschedulable": True,
    "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "c", "effect": "NoExecute"}],
}


@pytest.fixture
def full(kube: KubeServer) -> KubeServer:
    """An API server with an object of each kind in which everything is set, and with bare ones."""
    for item in (SERVICE, BARE, NO_NODE_PORTS, SLICE, EMPTY, NODE, objects.node("bare", "192.168.1.22")):
        kube.admin.create(item)
    kube.admin.patch("Service", "default", "full", {"status": STATUS}, "status")
    kube.admin.patch("Node", "", "full", {"status": NODE["status"]}, "status")
    return kube


def asked(server: KubeServer, question: Callable[[Connection], Any]) -> Any:
    """The answer to ``question``, over a connection like those of the product."""

    async def ask() -> Any:
        access = ClusterAccess(kubeconfig=server.admin_kubeconfig)
        async with access.connect(Timing()) as connection:
            return await question(connection)

    return run_over_tls(ask())


async def page_of(connection: Connection, resource: Resource, protobuf: bool, **query: str) -> Page:
    accepted = accept(resource.kind, watch=False, protobuf=protobuf)
    async with connection.get(resource.path, {**resource.selectors, **query}, accept=accepted) as answer:
        assert ("protobuf" in answer.content_type) is protobuf, "what was asked for came"
        return encoding_of(answer.content_type, resource.kind).page(await answer.read())


async def events_of(
    connection: Connection, resource: Resource, protobuf: bool, **query: str
) -> AsyncIterator[WireEvent]:
    accepted = accept(resource.kind, watch=True, protobuf=protobuf)
    wanted = {**resource.selectors, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "20", **query}
    async with connection.get(resource.path, wanted, accept=accepted) as answer:
        assert ("protobuf" in answer.content_type) is protobuf, "what was asked for came"
        async for event in encoding_of(answer.content_type, resource.kind).events(answer.content):
            yield event


@pytest.mark.parametrize("resource", [SERVICES, ENDPOINT_SLICES, NODES], ids=lambda resource: resource.kind)
def test_a_list_in_protobuf_is_the_list_in_json(full: KubeServer, resource: Resource) -> None:
    async def both(connection: Connection) -> list[Page]:
        first = await page_of(connection, resource, True, limit="2")
        # Of the same moment: the API server writes things of its own now and then, and each makes another version.
        moment = {"resourceVersion": first.version, "resourceVersionMatch": "Exact"}
        return [first, await page_of(connection, resource, False, limit="2", **moment)]

    protobuf, json = asked(full, both)
    assert (protobuf.version, bool(protobuf.more)) == (json.version, bool(json.more))
    found = [read_object(item, resource) for item in protobuf.items]
    assert found == [read_object(item, resource) for item in json.items]
    assert len(found) == 2


@pytest.mark.parametrize("resource", [SERVICES, ENDPOINT_SLICES, NODES], ids=lambda resource: resource.kind)
def test_a_watch_in_protobuf_is_the_watch_in_json(full: KubeServer, resource: Resource) -> None:
    async def initial(connection: Connection, protobuf: bool) -> list[RemoteObject]:
        found: list[RemoteObject] = []
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        async with aclosing(events_of(connection, resource, protobuf, **query)) as events:  # type: ignore[type-var]
            async for event in events:
                if event.type == "BOOKMARK":
                    metadata = event.object.metadata()
                    assert metadata.ends_initial_events
                    return [*found, RemoteObject(key=found[0].key, version=int(metadata.resource_version))]
                found.append(read_object(event.object, resource))
        raise AssertionError("the state never ended")

    async def both(connection: Connection) -> list[list[RemoteObject]]:
        return [await initial(connection, protobuf) for protobuf in (True, False)]

    protobuf, json = asked(full, both)
    assert protobuf[:-1] == json[:-1]
    assert all(one.item is not None for one in protobuf[:-1]), [one.problems for one in protobuf]


@pytest.mark.parametrize("resource", [SERVICES, ENDPOINT_SLICES, NODES], ids=lambda resource: resource.kind)
def test_every_field_that_is_used_differs_from_its_default(full: KubeServer, resource: Resource) -> None:
    """Or the comparison above would not see that one is passed over."""

    async def ask(connection: Connection) -> Page:
        return await page_of(connection, resource, True)

    items = [one.item for one in (read_object(item, resource) for item in asked(full, ask).items) if one.item]
    kind = type(items[0])
    for name in set(kind.__struct_fields__) - {"key"}:
        values = [getattr(item, name) for item in items]
        assert any(value != other for value in values for other in values), f"{name} is the same in all: {values[0]}"


def test_what_a_watch_says_of_changes_and_ends(full: KubeServer) -> None:
    async def follow(connection: Connection) -> list[Any]:
        since = (await page_of(connection, ENDPOINT_SLICES, True)).version
        changed: Manifest = {**SLICE, "endpoints": SLICE["endpoints"][:1]}
        full.admin.replace(changed)
        full.admin.delete("EndpointSlice", "default", "full-2")
        found: list[Any] = []
        async with aclosing(events_of(connection, ENDPOINT_SLICES, True, resourceVersion=since)) as events:  # type: ignore[type-var]
            async for event in events:
                found.append((event.type, read_object(event.object, ENDPOINT_SLICES).key.name))
                if len(found) == 2:
                    break
        return found

    assert asked(full, follow) == [("MODIFIED", "full-1"), ("DELETED", "full-2")]


def test_a_refusal_is_understood_in_protobuf_too(full: KubeServer) -> None:
    async def ask(connection: Connection) -> list[StatusObject]:
        found = []
        for protobuf in (True, False):
            accepted = accept(Kind.SERVICE, watch=False, protobuf=protobuf)
            async with connection.get(SERVICES.path, {"continue": "nonsense"}, accept=accepted) as answer:
                assert answer.status == 400
                found.append(encoding_of(answer.content_type, Kind.SERVICE).status(await answer.read()))
        return found

    protobuf, json = asked(full, ask)
    assert protobuf == json
    assert protobuf.code == 400
    assert protobuf.message
