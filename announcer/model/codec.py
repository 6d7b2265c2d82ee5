"""JSON for the values of the model: how they cross a socket, stand in a record, or are shown with ``--json``."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from announcer.model.net import IPAddress, IPNetwork, parse_prefix

T = TypeVar("T")

_FOREIGN = (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)


def _encode_hook(value: Any) -> Any:
    if isinstance(value, _FOREIGN):
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


#: How to build a foreign value from its text. Keyed by the run-time type, which for both families is an abstract one.
_BUILDERS: dict[Any, Callable[[str], Any]] = {
    IPAddress: ipaddress.ip_address,
    IPNetwork: parse_prefix,
    **{kind: kind for kind in _FOREIGN},
}


def _decode_hook(kind: type, value: Any) -> Any:
    return _BUILDERS[kind](value)


def to_json(value: Any) -> bytes:
    """JSON of any value of the model."""
    return msgspec.json.encode(value, enc_hook=_encode_hook)


def from_json(data: bytes, kind: type[T]) -> T:
    """The value of type ``kind`` that ``data`` holds. Raises ``msgspec.ValidationError`` with the path if not."""
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)


def to_builtins(value: Any) -> Any:
    """``value`` as dicts, lists, strings and numbers."""
    return msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True)


def convert(value: Any, kind: Any) -> Any:
    """The value of type ``kind`` that plain values stand for. Raises ``msgspec.ValidationError``.

    By way of JSON: ``msgspec.convert`` leaves the keys of dictionaries as they are.
    """
    return from_json(msgspec.json.encode(value), kind)
