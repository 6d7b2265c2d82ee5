"""What is on the wire, whatever the encoding: events, pages, objects, and what the protocol needs of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp
import msgspec

from announcer.manifests import decode
from announcer.model.errors import ConfigProblem
from announcer.model.objects import KubeObject, ObjectKey
from announcer.sources.kube.resources import Resource

#: Marks the bookmark that ends the initial events of a watch (KEP-3157).
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class WireError(Exception):
    """The bytes are not what their encoding says."""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """The part of ``metadata`` that the protocol needs."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None

    @property
    def ends_initial_events(self) -> bool:
        """True for the bookmark after the last initial event."""
        return (self.annotations or {}).get(INITIAL_EVENTS_END) == "true"


class StatusObject(msgspec.Struct, frozen=True):
    """meta/v1 Status: what the API server says when it cannot do what was asked."""

    code: int = 0
    reason: str = ""
    message: str = ""


class Encoded(Protocol):
    """An object as it came. Every method raises :class:`WireError` if the bytes are not what they should be."""

    def metadata(self) -> Metadata:
        """Its metadata, without looking at the rest."""
        ...

    def manifest(self) -> dict[str, Any]:
        """All that is used of it, as a manifest would have it. May lack ``kind`` and ``apiVersion``."""
        ...

    def status(self) -> StatusObject:
        """The object, which is a Status."""
        ...


class WireEvent(msgspec.Struct, frozen=True):
    """One event of a watch."""

    type: str
    object: Encoded


class Page(msgspec.Struct, frozen=True):
    """One page of a list, of the state ``version``. ``more`` asks for the next one; it is empty on the last."""

    items: list[Encoded]
    version: str
    more: str = ""


class Encoding(Protocol):
    """A way to write objects as bytes."""

    def events(self, content: aiohttp.StreamReader) -> AsyncIterator[WireEvent]:
        """The events of a watch, as they come. Raises :class:`WireError`."""
        ...

    def page(self, body: bytes) -> Page:
        """A list. Raises :class:`WireError`."""
        ...

    def status(self, body: bytes) -> StatusObject:
        """The Status that is the answer; an empty one if it is something else."""
        ...


class RemoteObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object and what it means. ``item`` None: it cannot be understood, and ``problems`` say why.

    ``version`` 0: not a number, so it cannot be compared with others.
    """

    key: ObjectKey
    version: int
    item: KubeObject | None = None
    problems: tuple[ConfigProblem, ...] = ()


def read_object(data: Encoded, resource: Resource, *, known: bool = True) -> RemoteObject:
    """One object. ``known`` False: it is gone, and only its key and version matter. Raises :class:`WireError`."""
    metadata = data.metadata()
    key = ObjectKey(metadata.namespace, metadata.name)
    version = number(metadata.resource_version)
    if not known:
        return RemoteObject(key=key, version=version)
    # The items of a list leave out their kind.
    value: dict[str, Any] = {"kind": str(resource.kind), "apiVersion": resource.api_version}
    value.update(data.manifest())
    decoded = decode(value)
    item = decoded.objects[0] if len(decoded.objects) == 1 else None
    problems = tuple(msgspec.structs.replace(one, file=f"{resource.kind} {key}") for one in decoded.problems)
    return RemoteObject(key=key, version=version, item=item, problems=problems)


def number(version: str) -> int:
    """A resourceVersion as a number. They may be compared as such (KEP-5504); 0 if it is none."""
    return int(version) if version.isascii() and version.isdigit() else 0
