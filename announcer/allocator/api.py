"""The few requests that the allocator makes besides following: a Lease, a status, an Event."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec

from announcer.allocator.election import Lease, LeaseSpec
from announcer.model.objects import ObjectKey, Service
from announcer.sources.kube.access import Connection
from announcer.sources.kube.patience import Trouble
from announcer.sources.kube.resources import SERVICES
from announcer.sources.kube.wire import JSON, JsonObject, RemoteObject, WireError, read_object

#: A leader that waits longer for an answer than this would be deposed before it comes.
_SECONDS = 4.0

_STRATEGIC = "application/strategic-merge-patch+json"


class Conflict(Exception):
    """The object is not what it was when it was read, or is gone: decide again."""


class _LeaseMetadata(msgspec.Struct, frozen=True):
    resource_version: str = msgspec.field(name="resourceVersion", default="")


class _LeaseObject(msgspec.Struct, frozen=True):
    metadata: _LeaseMetadata
    spec: LeaseSpec = LeaseSpec()


async def get_lease(connection: Connection, key: ObjectKey) -> Lease | None:
    """The Lease, None if there is none. Raises :class:`Trouble`."""
    body = await _request(connection, "GET", f"{_leases(key)}/{key.name}", absent=True)
    return _lease(body) if body is not None else None


async def put_lease(connection: Connection, key: ObjectKey, spec: LeaseSpec, before: Lease | None) -> Lease:
    """Create the Lease, or replace the one that was read. Raises :class:`Conflict`, :class:`Trouble`."""
    metadata = {"name": key.name, "namespace": key.namespace}
    if before is not None:
        metadata["resourceVersion"] = before.version
    fields = {name: value for name, value in msgspec.to_builtins(spec).items() if value is not None}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": fields}
    path = _leases(key) if before is None else f"{_leases(key)}/{key.name}"
    body = await _request(connection, "POST" if before is None else "PUT", path, lease)
    assert body is not None
    return _lease(body)


async def patch_status(connection: Connection, service: Service, patch: dict[str, Any]) -> RemoteObject:
    """Write a status; the Service as it is then. Raises :class:`Conflict`, :class:`Trouble`."""
    path = f"{_in(service.key.namespace)}/services/{service.key.name}/status?fieldManager=lockstep-allocator"
    body = await _request(connection, "PATCH", path, patch, content_type=_STRATEGIC)
    assert body is not None
    try:
        return read_object(JsonObject(body), SERVICES)
    except WireError as error:
        raise Trouble(f"PATCH {path}: {error}") from error


async def post_event(connection: Connection, event: dict[str, Any]) -> None:
    """Create an Event. Raises :class:`Conflict` (it is there already), :class:`Trouble`."""
    await _request(connection, "POST", f"{_in(event['metadata']['namespace'])}/events", event)


def _in(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"


def _leases(key: ObjectKey) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{key.namespace}/leases"


def _lease(body: bytes) -> Lease:
    found = msgspec.json.decode(body, type=_LeaseObject)
    return Lease(version=found.metadata.resource_version, spec=found.spec)


async def _request(
    connection: Connection,
    method: str,
    path: str,
    value: Any = None,
    *,
    content_type: str = "application/json",
    absent: bool = False,
) -> bytes | None:
    """The body of the answer; None for a 404 if ``absent`` allows it."""
    headers = {**connection.headers, "Content-Type": content_type}
    data = None if value is None else msgspec.json.encode(value)
    try:
        async with (
            asyncio.timeout(_SECONDS),
            connection.session.request(
                method, connection.server + path, data=data, headers=headers, **connection.options
            ) as answer,
        ):
            body = await answer.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Trouble(f"{method} {path}: {str(error) or type(error).__name__}") from error
    if answer.status < 300:
        return body
    if answer.status == 404 and absent:
        return None
    if answer.status in (404, 409):
        raise Conflict(path)
    raise Trouble(f"{method} {path}: {answer.status} {JSON.status(body).message[:300]}")
