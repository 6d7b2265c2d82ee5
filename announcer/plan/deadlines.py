"""When to plan again though nothing happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from announcer.model.changes import changed
from announcer.model.lb import Proof
from announcer.model.net import IPAddress
from announcer.model.observed import Observed
from announcer.plan.damping import held_until
from announcer.plan.settings import PlanSettings


def next_deadline(observed: Observed, now: float, settings: PlanSettings | None = None) -> float | None:
    """When, at the latest, to plan again though nothing happens: CLOCK_MONOTONIC seconds, or None.

    Good proofs do not count: they are made anew whenever somebody looks. With thousands of them one is always due.
    """
    limits = settings or PlanSettings()
    times = [*observed.draining.values(), *observed.shedding.values()]
    if observed.last_arrival is not None and observed.draining:
        times.append(observed.last_arrival + limits.quiet)
    for proof in _failing.among(observed.proofs):
        times += [proof.at + limits.proof_interval, proof.since + limits.proof_grace]
    held = [held_until(observed, vip, limits) for vip in observed.damping]
    times += [time for time in held if time is not None]
    later = [time for time in times if time > now]
    return min(later) if later else None


class _Failing:
    """The proofs that are not good, nearly always none: only what has changed since the last question is looked at."""

    def __init__(self) -> None:
        self._proofs: Mapping[IPAddress, Proof] = {}
        self._found: dict[IPAddress, Proof] = {}

    def among(self, proofs: Mapping[IPAddress, Proof]) -> Iterable[Proof]:
        """Those among these."""
        before, self._proofs = self._proofs, proofs
        for vip in changed(before, proofs):
            proof = proofs.get(vip)
            if proof is not None and not proof.ok:
                self._found[vip] = proof
            else:
                self._found.pop(vip, None)
        return self._found.values()


_failing = _Failing()
