"""One line of a recording, and the chain of checksums that shows whether somebody changed one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SCHEMA = "lockstep.record/v1"

_LENGTH = 16


def encode(fields: dict[str, Any], before: str) -> tuple[bytes, str]:
    """The line and its checksum; ``before`` is that of the line before it, empty for the first."""
    checksum = _checksum(fields, before)
    return json.dumps({**fields, "sum": checksum}, separators=(",", ":")).encode() + b"\n", checksum


def decode(line: bytes) -> tuple[dict[str, Any], str]:
    """The fields and the checksum that stands there. Raises ``ValueError``."""
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("no JSON object")
    return fields, str(fields.pop("sum", ""))


def is_sound(fields: dict[str, Any], checksum: str, before: str) -> bool:
    """True if the line is the one that was written, behind the line that it was written behind."""
    return checksum == _checksum(fields, before)


def _checksum(fields: dict[str, Any], before: str) -> str:
    return hashlib.sha256((before + json.dumps(fields, sort_keys=True)).encode()).hexdigest()[:_LENGTH]
