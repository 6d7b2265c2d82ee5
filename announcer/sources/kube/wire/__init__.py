"""The bytes of an API server, and the objects in them.

The models of the ``kubernetes`` package are not used: they hold every field of every object, and making one costs more
than everything else that is done with it. Here an object becomes a plain value, which goes through
``announcer.manifests`` as one of a folder does, and only what Lockstep uses is kept.

- ``objects``: what is on the wire, whatever the encoding;
- ``as_json``, with ``lines``: the encoding that every server and every proxy can;
- ``as_protobuf``, with ``frames``, ``protobuf`` and ``messages``: half the bytes, for the kinds that come in numbers;
- ``negotiate``: which of them is asked for, and which one came.
"""

from announcer.sources.kube.wire.as_json import JSON, JsonObject
from announcer.sources.kube.wire.messages import MESSAGES
from announcer.sources.kube.wire.negotiate import accept, encoding_of
from announcer.sources.kube.wire.objects import (
    Encoded,
    Encoding,
    Metadata,
    Page,
    RemoteObject,
    StatusObject,
    WireError,
    WireEvent,
    number,
    read_object,
)

__all__ = [
    "JSON",
    "MESSAGES",
    "Encoded",
    "Encoding",
    "JsonObject",
    "Metadata",
    "Page",
    "RemoteObject",
    "StatusObject",
    "WireError",
    "WireEvent",
    "accept",
    "encoding_of",
    "number",
    "read_object",
]
