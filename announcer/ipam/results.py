"""What can come of a search for an address."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.desired import Reason
from announcer.model.net import IPAddress


class Code(StrEnum):
    """Why a Service has no address, or lost or changed the one that it had. Stable strings, listed in docs/reasons.md.

    They say more than the agents' one ``noIPAllocated``, because what to do about each of them differs.
    """

    BAD_REQUEST = "badRequest"
    NO_POOL = "noPool"
    NO_SUCH_POOL = "noSuchPool"
    POOL_EXHAUSTED = "poolExhausted"
    ADDRESS_IN_USE = "addressInUse"
    IP_NOT_ALLOWED = "ipNotAllowed"
    FOREIGN_ADDRESS = "foreignAddress"
    NOT_ALLOWED_BY_CONFIG = "notAllowedByConfig"
    SHARING_CONFLICT = "sharingConflict"
    FAMILY_CHANGED = "familyChanged"
    DIFFERENT_POOL_REQUESTED = "differentPoolRequested"
    DIFFERENT_IP_REQUESTED = "differentIPRequested"
    NOT_LOAD_BALANCER = "notLoadBalancer"

    @property
    def reason(self) -> Reason:
        """The agents' word for it."""
        return Reason.IP_NOT_ALLOWED if self is Code.IP_NOT_ALLOWED else Reason.NO_IP_ALLOCATED


class Refusal(msgspec.Struct, frozen=True):
    """Why nothing was found. ``detail`` is a sentence for the Service's owner."""

    code: Code
    detail: str


class Found(msgspec.Struct, frozen=True):
    """Addresses, and the pool of the first."""

    addresses: tuple[IPAddress, ...]
    pool: str
