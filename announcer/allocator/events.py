"""What the owner of a Service is told by Events. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from announcer.ipam import Assignment, Outcome
from announcer.model.objects import Service

COMPONENT = "lockstep-allocator"


class Word(msgspec.Struct, frozen=True):
    """An Event in short: its ``reason`` is a stable string, like those of the agents."""

    reason: str
    message: str
    warning: bool = False


def word_of(assignment: Assignment) -> Word | None:
    """What to say of an assignment that was just written, or of a foreign one; None if it is nothing new to anybody."""
    addresses = ", ".join(map(str, assignment.addresses))
    because = f" ({assignment.code}: {assignment.detail})" if assignment.detail else ""
    match assignment.outcome:
        case Outcome.GIVEN:
            return Word("AddressAssigned", f"{addresses} from the pool {assignment.pool}")
        case Outcome.MOVED:
            before = ", ".join(map(str, assignment.before))
            return Word("AddressChanged", f"from {before} to {addresses}{because}", bool(because))
        case Outcome.RELEASED:
            before = ", ".join(map(str, assignment.before))
            return Word("AddressReleased", f"{before} is taken back{because}", True)
        case Outcome.REFUSED | Outcome.FOREIGN:
            # The reason is the one that MetalLB's users know; the code says what it is exactly.
            return Word("AllocationFailed", f"{assignment.code}: {assignment.detail}", True)
    if assignment.code is None:
        return None
    return Word("AllocationFailed", f"{assignment.code}: {assignment.detail}; it keeps {addresses}", True)


def event(service: Service, word: Word, stamp: str) -> dict[str, Any]:
    """The Event object (core/v1). Its name follows from what it says and when."""
    digest = hashlib.blake2b(f"{word}{stamp}".encode(), digest_size=8).hexdigest()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{service.key.name[:200]}.{digest}", "namespace": service.key.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Service",
            "namespace": service.key.namespace,
            "name": service.key.name,
            "uid": service.uid,
        },
        "reason": word.reason,
        "message": word.message[:1000],
        "type": "Warning" if word.warning else "Normal",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


class Budget:
    """How many Events may be sent: ``burst`` at once, then ``rate`` a second. A storm of them helps nobody."""

    def __init__(self, rate: float = 5.0, burst: float = 200.0) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """True if one more may be sent at ``now`` (monotonic seconds)."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
