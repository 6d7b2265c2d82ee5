"""Objects as protobuf: the frames of a watch, the pages of a list.

Kubernetes marks what it encodes so with four bytes and wraps it in a ``runtime.Unknown`` that names the kind
(https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding). A watch is a sequence of frames with a
``WatchEvent`` each, in which an object is marked and wrapped again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec

from announcer.model.objects import Kind
from announcer.sources.kube.wire.frames import frames_of
from announcer.sources.kube.wire.messages import ANY, LIST, MESSAGES, STATUS, UNKNOWN, WATCH_EVENT
from announcer.sources.kube.wire.objects import Encoded, Metadata, Page, StatusObject, WireError, WireEvent

_MAGIC = b"k8s\x00"


class ProtobufObject(msgspec.Struct, frozen=True):
    """See :class:`~announcer.sources.kube.wire.objects.Encoded`. ``data``: the message alone, not wrapped."""

    kind: Kind
    data: bytes

    def metadata(self) -> Metadata:
        """See ``Encoded``."""
        return msgspec.convert(ANY.read(self.data).get("metadata", {}), Metadata)

    def manifest(self) -> dict[str, Any]:
        """See ``Encoded``."""
        return MESSAGES[self.kind].read(self.data)

    def status(self) -> StatusObject:
        """See ``Encoded``."""
        return msgspec.convert(STATUS.read(self.data), StatusObject)


class ProtobufEncoding(msgspec.Struct, frozen=True):
    """See :class:`~announcer.sources.kube.wire.objects.Encoding`. ``kind``: of all objects that are asked for."""

    kind: Kind

    async def events(self, content: aiohttp.StreamReader) -> AsyncIterator[WireEvent]:
        """See ``Encoding``."""
        async for frame in frames_of(content):
            event = WATCH_EVENT.read(frame)
            wrapped = event.get("object", {}).get("raw", b"")
            yield WireEvent(event.get("type", ""), ProtobufObject(self.kind, _unwrap(wrapped)))

    def page(self, body: bytes) -> Page:
        """See ``Encoding``."""
        page = LIST.read(_unwrap(body))
        metadata = page.get("metadata", {})
        items: list[Encoded] = [ProtobufObject(self.kind, item) for item in page.get("items", ())]
        return Page(items, version=metadata.get("resourceVersion", ""), more=metadata.get("continue", ""))

    def status(self, body: bytes) -> StatusObject:
        """See ``Encoding``."""
        try:
            return ProtobufObject(self.kind, _unwrap(body)).status()
        except WireError:
            return StatusObject()


def _unwrap(data: bytes) -> bytes:
    if not data.startswith(_MAGIC):
        raise WireError("an object without the mark of Kubernetes' protobuf")
    unknown = UNKNOWN.read(data[len(_MAGIC) :])
    if unknown.get("contentEncoding"):
        raise WireError("an object that is compressed once more")
    return bytes(unknown.get("raw", b""))
