"""Writing protobuf, for the tests: bytes by field numbers, with nothing of the code under test."""

from __future__ import annotations

MAGIC = b"k8s\x00"


def varint(value: int) -> bytes:
    """An unsigned number."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def field(number: int, value: bytes | str | int) -> bytes:
    """One field: text and bytes with their length, numbers as they are (negative ones in 64 bits)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (1 << 64) - 1)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(*fields: tuple[int, bytes | str | int]) -> bytes:
    """Fields in this order."""
    return b"".join(field(number, value) for number, value in fields)


def wrapped(kind: str, data: bytes, api_version: str = "v1") -> bytes:
    """runtime.Unknown, with the mark before it."""
    return MAGIC + message((1, message((1, api_version), (2, kind))), (2, data), (3, ""), (4, ""))


def frame(event: str, data: bytes) -> bytes:
    """One event of a watch. ``data``: an object as ``wrapped`` gives it."""
    made = message((1, event), (2, message((1, data))))
    return len(made).to_bytes(4, "big") + made
