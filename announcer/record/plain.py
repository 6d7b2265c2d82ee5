"""Values of the model as plain JSON, without secrets, and back.

``announcer.model.codec`` cannot do it: some dictionaries here have structured keys, which JSON has not. Passwords are
replaced by something that has the same faults and is equal exactly where they are equal, so that everything is decided
as before; the salt that this needs is written nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

import msgspec

from announcer.config.sessions import password_fault
from announcer.model.bgp import Password
from announcer.model.codec import convert
from announcer.model.lb import FrontendKey
from announcer.model.net import Protocol
from announcer.model.objects import ObjectKey, Secret

T = TypeVar("T")

_ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)
_MASK_LENGTH = 16


class Plainer:
    """Makes values plain. One for a whole recording: equal secrets look equal in it, and in no other."""

    def __init__(self) -> None:
        """Draws the salt."""
        self._salt = secrets.token_bytes(32)

    def plain(self, value: Any) -> Any:
        """Dicts with text keys, lists, text and numbers."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Password):
            return {"value": self._mask(value.value)}
        if isinstance(value, Secret):
            data = {name: base64.b64encode(self._mask_bytes(data)).decode() for name, data in value.data.items()}
            return {"key": self.plain(value.key), "data": data}
        if isinstance(value, msgspec.Struct):
            return self._struct(value)
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, str):
            return value
        return self._container(value)

    def digest(self, value: Any) -> str:
        """The same for equal values, whatever their dicts' and sets' order."""
        return hashlib.sha256(json.dumps(self.plain(value), sort_keys=True).encode()).hexdigest()

    def _struct(self, value: msgspec.Struct) -> dict[str, Any]:
        found = {name: self.plain(getattr(value, name)) for name in value.__struct_fields__}
        config = value.__struct_config__
        return {config.tag_field: config.tag, **found} if config.tag_field and config.tag is not None else found

    def _container(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): self.plain(item) for key, item in value.items()}
        if isinstance(value, set | frozenset):
            return sorted((self.plain(item) for item in value), key=json.dumps)
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        if isinstance(value, _ADDRESSES):
            return str(value)
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        raise TypeError(f"no plain form for {type(value).__name__}")

    def _mask(self, text: str) -> str:
        if not text:
            return text
        if password_fault(text):  # the fault decides, so it is kept: only letters and digits go
            return "".join("x" if letter.isalnum() and letter.isascii() else letter for letter in text)
        return "masked-" + hmac.new(self._salt, text.encode(), hashlib.sha256).hexdigest()[:_MASK_LENGTH]

    def _mask_bytes(self, data: bytes) -> bytes:
        return self._mask(data.decode("utf-8", "replace")).encode()


def _frontend_key(text: str) -> FrontendKey:
    address, _, protocol = text.rpartition("/")
    host, _, port = address.rpartition(":")
    return FrontendKey(ipaddress.ip_address(host.strip("[]")), Protocol(protocol), int(port))


def _object_key(text: str) -> ObjectKey:
    namespace, _, name = text.rpartition("/")
    return ObjectKey(namespace, name)


#: How a structured key is read from its text.
_KEYS: dict[Any, Callable[[str], Any]] = {FrontendKey: _frontend_key, ObjectKey: _object_key}


def restore(data: Any, kind: type[T]) -> T:
    """The value of type ``kind`` that ``data`` is the plain form of. Raises ``ValueError`` if it is none.

    Structured keys may stand in the fields of ``kind`` and of structs that are fields of it.
    """
    hints = typing.get_type_hints(kind)
    if not isinstance(data, dict) or not set(data) <= set(hints):
        raise ValueError(f"no {kind.__name__}")
    return kind(**{name: _field(value, hints[name]) for name, value in data.items()})


def _field(value: Any, hint: Any) -> Any:
    arguments = typing.get_args(hint)
    if arguments and arguments[0] in _KEYS and isinstance(value, dict):
        return {_KEYS[arguments[0]](key): convert(item, arguments[1]) for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and _has_structured_keys(hint):
        return restore(value, hint)
    return convert(value, hint)


def _has_structured_keys(kind: type) -> bool:
    return any(set(typing.get_args(hint)) & set(_KEYS) for hint in typing.get_type_hints(kind).values())
