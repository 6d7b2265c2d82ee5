"""Which encoding is asked for, and which one came."""

from __future__ import annotations

from announcer.model.objects import Kind
from announcer.sources.kube.wire.as_json import JSON
from announcer.sources.kube.wire.as_protobuf import ProtobufEncoding
from announcer.sources.kube.wire.messages import MESSAGES
from announcer.sources.kube.wire.objects import Encoding

_JSON = "application/json"
_PROTOBUF = "application/vnd.kubernetes.protobuf"


def accept(kind: Kind, *, watch: bool, protobuf: bool) -> str:
    """The header ``Accept`` for objects of a kind. ``protobuf`` False: it has been tried in vain."""
    if not protobuf or kind not in MESSAGES:
        return _JSON
    return f"{_PROTOBUF}{';stream=watch' if watch else ''}, {_JSON}"


def encoding_of(content_type: str, kind: Kind) -> Encoding:
    """What an answer is written in, by its header ``Content-Type`` without parameters.

    A server that cannot do what it was asked for says nothing of it and answers with JSON.
    """
    return ProtobufEncoding(kind) if content_type == _PROTOBUF and kind in MESSAGES else JSON
