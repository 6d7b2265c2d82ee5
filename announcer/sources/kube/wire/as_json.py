"""Objects as JSON: the lines of a watch, the pages of a list."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import msgspec

from announcer.sources.kube.wire.lines import lines_of
from announcer.sources.kube.wire.objects import Encoded, Metadata, Page, StatusObject, WireError, WireEvent


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _PageMetadata(msgspec.Struct, frozen=True, rename={"more": "continue", "resource_version": "resourceVersion"}):
    resource_version: str = ""
    more: str = ""


class _Page(msgspec.Struct, frozen=True):
    metadata: _PageMetadata
    items: list[msgspec.Raw] | None = None


class _Version(msgspec.Struct, frozen=True):
    """metadata/v1 of anything, and nothing else of it."""

    metadata: Metadata = Metadata()


_event = msgspec.json.Decoder(_Event)
_page = msgspec.json.Decoder(_Page)
_version = msgspec.json.Decoder(_Version)
_status = msgspec.json.Decoder(StatusObject)
_map = msgspec.json.Decoder(dict[str, Any])


class JsonObject(msgspec.Struct, frozen=True):
    """See :class:`~announcer.sources.kube.wire.objects.Encoded`."""

    data: bytes | msgspec.Raw

    def metadata(self) -> Metadata:
        """See ``Encoded``."""
        with _wire_errors():
            return _version.decode(self.data).metadata

    def manifest(self) -> dict[str, Any]:
        """See ``Encoded``."""
        with _wire_errors():
            return _map.decode(self.data)

    def status(self) -> StatusObject:
        """See ``Encoded``."""
        with _wire_errors():
            return _status.decode(self.data)


class JsonEncoding:
    """See :class:`~announcer.sources.kube.wire.objects.Encoding`."""

    async def events(self, content: aiohttp.StreamReader) -> AsyncIterator[WireEvent]:
        """See ``Encoding``."""
        async for line in lines_of(content):
            with _wire_errors():
                event = _event.decode(line)
            yield WireEvent(event.type, JsonObject(event.object))

    def page(self, body: bytes) -> Page:
        """See ``Encoding``."""
        with _wire_errors():
            page = _page.decode(body)
        items: list[Encoded] = [JsonObject(item) for item in page.items or ()]
        return Page(items, version=page.metadata.resource_version, more=page.metadata.more)

    def status(self, body: bytes) -> StatusObject:
        """See ``Encoding``. A proxy in between answers with a page for people."""
        try:
            return JsonObject(body).status()
        except WireError:
            return StatusObject()


JSON = JsonEncoding()


@contextlib.contextmanager
def _wire_errors() -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"not the JSON that it should be: {error}") from error
