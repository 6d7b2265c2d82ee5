"""The bytes of an API server, and the objects in them.

The models of the ``kubernetes`` package are not used: they hold every field of every object, and making one costs more
than everything else that is done with it. Here an object goes from JSON through ``announcer.manifests``, as one of a
folder does, and only what Lockstep uses is kept.
"""

from __future__ import annotations

from typing import Any

import msgspec

from announcer.manifests import decode
from announcer.model.errors import ConfigProblem
from announcer.model.objects import KubeObject, ObjectKey
from announcer.sources.kube.resources import Resource

#: Marks the bookmark that ends the initial events of a watch (KEP-3157).
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


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


class Envelope(msgspec.Struct, frozen=True):
    """One event of a watch."""

    type: str
    object: msgspec.Raw


class Page(msgspec.Struct, frozen=True):
    """One page of a list. ``metadata.continue`` is empty on the last one."""

    metadata: PageMetadata
    items: list[msgspec.Raw] | None = None


class PageMetadata(msgspec.Struct, frozen=True, rename={"more": "continue", "resource_version": "resourceVersion"}):
    """The metadata of a list."""

    resource_version: str = ""
    more: str = ""


class StatusObject(msgspec.Struct, frozen=True):
    """meta/v1 Status: what the API server says when it cannot do what was asked."""

    code: int = 0
    reason: str = ""
    message: str = ""


class Version(msgspec.Struct, frozen=True):
    """metadata/v1 of anything, and nothing else of it."""

    metadata: Metadata = Metadata()


class RemoteObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it came. ``item`` None: it cannot be understood, and ``problems`` say why.

    ``version`` 0: not a number, so it cannot be compared with others.
    """

    key: ObjectKey
    version: int
    item: KubeObject | None = None
    problems: tuple[ConfigProblem, ...] = ()


_envelope = msgspec.json.Decoder(Envelope)
_page = msgspec.json.Decoder(Page)
_version = msgspec.json.Decoder(Version)
_status = msgspec.json.Decoder(StatusObject)
_anything = msgspec.json.Decoder()


def read_event(line: bytes) -> Envelope:
    """One line of a watch. Raises ``msgspec.MsgspecError`` if it is none."""
    return _envelope.decode(line)


def read_page(body: bytes) -> Page:
    """A list. Raises ``msgspec.MsgspecError`` if it is none."""
    return _page.decode(body)


def read_metadata(data: bytes | msgspec.Raw) -> Metadata:
    """The metadata of an object, without looking at the rest."""
    return _version.decode(data).metadata


def read_status(data: bytes | msgspec.Raw) -> StatusObject:
    """A Status; an empty one if it is something else (a proxy in between answers with a page for people)."""
    try:
        return _status.decode(data)
    except msgspec.MsgspecError:
        return StatusObject()


def read_object(data: bytes | msgspec.Raw, resource: Resource, *, known: bool = True) -> RemoteObject:
    """One object. ``known`` False: it is gone, and only its key and version matter."""
    metadata = read_metadata(data)
    key = ObjectKey(metadata.namespace, metadata.name)
    version = number(metadata.resource_version)
    if not known:
        return RemoteObject(key=key, version=version)
    # The items of a list leave out their kind.
    value: dict[str, Any] = {"kind": str(resource.kind), "apiVersion": resource.api_version}
    value.update(_anything.decode(data))
    decoded = decode(value)
    item = decoded.objects[0] if len(decoded.objects) == 1 else None
    problems = tuple(msgspec.structs.replace(one, file=f"{resource.kind} {key}") for one in decoded.problems)
    return RemoteObject(key=key, version=version, item=item, problems=problems)


def number(version: str) -> int:
    """A resourceVersion as a number. They may be compared as such (KEP-5504); 0 if it is none."""
    return int(version) if version.isascii() and version.isdigit() else 0
