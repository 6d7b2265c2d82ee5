"""Reading protobuf by a description of what is used; the rest is passed over.

The wire format (https://protobuf.dev/programming-guides/encoding/) is a sequence of fields: a number and a type in one
varint, then a varint, a length with as many bytes, or 4 or 8 bytes. What a field means is not in it: that is what a
:class:`Message` says. A message comes out as a plain map with the names that the JSON of the same object has.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from announcer.sources.kube.wire.objects import WireError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}

_MASK = (1 << 64) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FieldSpec(msgspec.Struct, frozen=True):
    """One field of a message. ``read`` makes the value of the bytes, or of the number if ``wire`` is a varint.

    ``put`` puts the value in its place: a field that repeats is a list, or a map.
    """

    name: str
    wire: int
    read: Callable[[Any], Any]
    put: Callable[[dict[str, Any], str, Any], None]


class Message:
    """The fields of a message that are used, by their numbers."""

    def __init__(self, **fields: tuple[int, Callable[[str], FieldSpec]]) -> None:
        """``fields``: under the name in JSON the number, and what the field holds. A ``_`` at the end is cut off."""
        self._fields = {number: make(name.rstrip("_")) for name, (number, make) in fields.items()}

    def read(self, data: bytes) -> dict[str, Any]:
        """The message in ``data``. Raises :class:`WireError`."""
        try:
            return self._read(data)
        except IndexError:
            raise WireError("a message ends inside of a field") from None

    def _read(self, data: bytes) -> dict[str, Any]:
        """As :meth:`read`; raises IndexError as well. What fits in one byte, nearly every time, is read here."""
        found: dict[str, Any] = {}
        fields = self._fields
        at, end = 0, len(data)
        while at < end:
            tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
            wire = tag & 7
            value: Any = None
            if wire == _BYTES:
                size, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
                begin, at = at, at + size
                value = data[begin:at]
            elif wire == _VARINT:
                value, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
            elif wire in _FIXED:
                at += _FIXED[wire]
            else:
                raise WireError(f"wire type {wire} is not one that is used")
            if at > end:
                raise WireError("a field ends beyond its message")
            field = fields.get(tag >> 3)
            if field is not None:
                if wire != field.wire:
                    raise WireError(f"{field.name} has the wire type {wire}")
                field.put(found, field.name, field.read(value))
        return found


def text(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """A string."""
    return number, lambda name: FieldSpec(name, _BYTES, _text, _set)


def texts(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """A list of strings."""
    return number, lambda name: FieldSpec(name, _BYTES, _text, _append)


def text_map(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """A map of strings to strings, such as labels: on the wire a list of pairs."""
    return number, lambda name: FieldSpec(name, _BYTES, _PAIR.read, _enter)


def raw(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """Bytes, as they are."""
    return number, lambda name: FieldSpec(name, _BYTES, bytes, _set)


def raws(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """A list of them."""
    return number, lambda name: FieldSpec(name, _BYTES, bytes, _append)


def truth(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """A bool."""
    return number, lambda name: FieldSpec(name, _VARINT, bool, _set)


def integer(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """An int32 or int64."""
    return number, lambda name: FieldSpec(name, _VARINT, _signed, _set)


def one(number: int, message: Message) -> tuple[int, Callable[[str], FieldSpec]]:
    """Another message."""
    return number, lambda name: FieldSpec(name, _BYTES, message.read, _set)


def many(number: int, message: Message) -> tuple[int, Callable[[str], FieldSpec]]:
    """A list of messages."""
    return number, lambda name: FieldSpec(name, _BYTES, message.read, _append)


def time(number: int) -> tuple[int, Callable[[str], FieldSpec]]:
    """meta/v1 Time, as JSON has it: RFC 3339 in seconds. Empty if it was never set."""
    return number, lambda name: FieldSpec(name, _BYTES, _time, _set)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of 64 bits, and where it ends. Raises IndexError if it has no end."""
    found = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found & _MASK, at
    raise WireError("a number of more than ten bytes")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"a string that is not UTF-8: {error.reason}") from None


def _signed(value: int) -> int:
    """Negative ones stand as 64 bits, two's complement."""
    return value - (1 << 64) if value >> 63 else value


def _time(value: bytes) -> str:
    seconds = _TIME.read(value).get("seconds", 0)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise WireError("a time that no calendar has") from None
    return moment.isoformat().replace("+00:00", "Z") if seconds > 0 else ""


def _set(found: dict[str, Any], name: str, value: Any) -> None:
    found[name] = value


def _append(found: dict[str, Any], name: str, value: Any) -> None:
    found.setdefault(name, []).append(value)


def _enter(found: dict[str, Any], name: str, pair: dict[str, Any]) -> None:
    found.setdefault(name, {})[pair.get("key", "")] = pair.get("value", "")


_PAIR = Message(key=text(1), value=text(2))
_TIME = Message(seconds=integer(1))
