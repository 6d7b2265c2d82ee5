"""Who may write: one of several candidates, by a Lease (coordination.k8s.io/v1). Pure.

The rules are those of Kubernetes' own components (client-go, tools/leaderelection), so they hold beside them:

- A Lease that another holds may be taken over when it has not *changed* for its whole duration, by the clock of the one
  who looks. Times in it are never compared with a clock of ours: they may be wrong by hours.
- The holder renews far more often than that, and considers itself deposed well before anybody may take over: its time
  begins when it *sent* the last renewal that was accepted, that of the others when they saw it, which is later.
- All writes carry the resourceVersion that was read. Of two who take over at once one gets a conflict.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class LeaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``spec`` of a Lease. Times are RFC 3339 with microseconds, for people only."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A Lease as it was read: its ``version`` is the resourceVersion."""

    version: str
    spec: LeaseSpec


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. A candidate looks every ``retry``; a leader that could not renew for ``renew`` is none any more; others
    may take over after ``duration``.
    """

    duration: int = 15
    renew: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        """Raises ``ValueError`` unless the leader gives up before others take over, with a retry to spare."""
        if not 0 < 2 * self.retry < self.renew < self.duration:
            raise ValueError("a Lease needs 2 * retry < renew < duration")


class Move(StrEnum):
    """What a candidate should do now."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


class Election:
    """One candidate's view of the Lease. All times are seconds of one monotonic clock."""

    def __init__(self, identity: str, terms: Terms | None = None) -> None:
        """``identity`` must be another one for every process that ever runs."""
        self.identity = identity
        self.terms = terms or Terms()
        self._seen: Lease | None = None
        self._changed_at = 0.0
        self._until = 0.0

    def leads(self, now: float) -> bool:
        """True if nobody else can hold the Lease at ``now``, so that writing is safe."""
        return now < self._until

    @property
    def holder(self) -> str:
        """Who held the Lease when it was looked at last; empty if nobody."""
        return (self._seen.spec.holder_identity or "") if self._seen is not None else ""

    def look(self, lease: Lease | None, now: float) -> Move:
        """What to do about the Lease that was read at ``now``; None: there is none."""
        if lease is None:
            self._seen = None
            return Move.CREATE
        if self._seen is None or lease.version != self._seen.version:
            self._seen, self._changed_at = lease, now
        if lease.spec.holder_identity == self.identity:
            return Move.RENEW
        self._until = 0.0
        if not lease.spec.holder_identity:
            return Move.TAKE
        # The holder's own duration counts: it is what it relies upon.
        duration = lease.spec.lease_duration_seconds or self.terms.duration
        return Move.TAKE if now - self._changed_at >= duration else Move.WAIT

    def claim(self, stamp: str) -> LeaseSpec:
        """The Lease as it should be written to lead (on); ``stamp`` is the time of the wall clock."""
        before = self._seen.spec if self._seen is not None else LeaseSpec()
        mine = before.holder_identity == self.identity
        transitions = before.lease_transitions or 0
        return LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=self.terms.duration,
            acquire_time=before.acquire_time if mine else stamp,
            renew_time=stamp,
            lease_transitions=transitions if mine or self._seen is None else transitions + 1,
        )

    def won(self, lease: Lease, sent: float, now: float) -> None:
        """The API server took the claim that was sent at ``sent``; it answered with ``lease`` at ``now``."""
        self._seen, self._changed_at = lease, now
        self._until = sent + self.terms.renew

    def lost(self) -> None:
        """Somebody else wrote first, or the Lease is given up: from now on nothing may be written."""
        self._until = 0.0

    def resignation(self, stamp: str) -> LeaseSpec | None:
        """The Lease without a holder, so that another need not wait; None if it is not ours to give."""
        if self._seen is None or self._seen.spec.holder_identity != self.identity:
            return None
        return LeaseSpec(
            holder_identity="",
            lease_duration_seconds=1,
            acquire_time=self._seen.spec.acquire_time,
            renew_time=stamp,
            lease_transitions=self._seen.spec.lease_transitions,
        )
