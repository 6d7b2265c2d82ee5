"""``fold``: what is known of the world, after one more thing was seen.

The third of the three pure functions. Whatever the hands read back replaces what was known before; outcomes of steps
add the three things that cannot be read back: when a VIP was last proven, until when it drains, and whether peers were
told everything once.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from announcer.model.lb import Proof
from announcer.model.net import IPAddress
from announcer.model.observed import BgpObserved, Damping, DatapathObserved, Observed, Outcome, OutcomeState
from announcer.model.steps import Announce, Drain, EndOfRib, ProgramFrontend, Shed, Verify, Withdraw

T = TypeVar("T")

#: A withdrawal for want of proof is forgotten after so many seconds without another.
FLAP_MEMORY = 300.0

Event = DatapathObserved | BgpObserved | Outcome


def fold(observed: Observed, event: Event, now: float) -> Observed:
    """``observed`` with ``event``, seen at ``now`` (CLOCK_MONOTONIC seconds), taken in.

    Pure; the same events in the same order give the same value.
    """
    match event:
        case DatapathObserved():
            return _fold_datapath(observed, event, now)
        case BgpObserved():
            return msgspec.structs.replace(observed, bgp=event)
        case Outcome():
            return _fold_outcome(observed, event, now)


def _fold_datapath(observed: Observed, seen: DatapathObserved, now: float) -> Observed:
    """Proofs and drains of a VIP that has no entries left are forgotten: nothing outlives its object.

    A read-back that failed says nothing about entries, so nothing is forgotten on its strength.
    """
    if seen.problem:
        return msgspec.structs.replace(observed, datapath=seen)
    present = {key.vip for key in seen.frontends}
    unknown = observed.last_arrival is None  # a new agent: packets may have come just before it looked
    arrived = unknown or seen.arrivals != observed.datapath.arrivals
    return msgspec.structs.replace(
        observed,
        datapath=seen,
        proofs=_only(present, observed.proofs),
        draining=_only(present, observed.draining),
        shedding=_only(present, observed.shedding),
        last_arrival=now if arrived else observed.last_arrival,
        damping={vip: found for vip, found in observed.damping.items() if now - found.at < FLAP_MEMORY},
    )


def _only(present: set[IPAddress], values: dict[IPAddress, T]) -> dict[IPAddress, T]:
    return {vip: value for vip, value in values.items() if vip in present}


def _fold_outcome(observed: Observed, outcome: Outcome, now: float) -> Observed:
    match outcome.step:
        case Verify(vip=vip) if outcome.proof is not None:
            return _fold_proof(observed, vip, outcome.proof)
        case ProgramFrontend(frontend=frontend) if outcome.state is OutcomeState.FAILED:
            # What could not be programmed is not served: as good as a proof that failed.
            failed = Proof(ok=False, at=now, problem=outcome.problem)
            return _fold_proof(observed, frontend.key.vip, failed)
        case EndOfRib() if outcome.state is OutcomeState.DONE:
            return msgspec.structs.replace(observed, completed=True)
        case Drain(vip=vip, until=until) if outcome.state is OutcomeState.WAITING:
            return msgspec.structs.replace(observed, draining={**observed.draining, vip: until})
        case Shed(vip=vip, until=until) if outcome.state is OutcomeState.WAITING:
            return msgspec.structs.replace(observed, shedding={**observed.shedding, vip: until})
        case Announce(lane=lane) if outcome.state is not OutcomeState.FAILED:
            # Packets may come again, so whatever drain was over has to begin anew.
            draining = {vip: until for vip, until in observed.draining.items() if str(vip) != lane}
            return msgspec.structs.replace(observed, draining=draining)
        case Withdraw(lane=lane) if outcome.state is not OutcomeState.FAILED:
            return _fold_withdrawal(observed, lane, now)
    return observed


def _fold_withdrawal(observed: Observed, lane: str, now: float) -> Observed:
    """One that was made for want of proof counts as a flap: once, however many peers are told."""
    failing = [vip for vip, proof in observed.proofs.items() if not proof.ok and str(vip) == lane]
    for vip in failing:
        since, before = observed.proofs[vip].since, observed.damping.get(vip)
        if before is None or before.since != since:
            found = Damping(flaps=1 if before is None else before.flaps + 1, since=since, at=now)
            return msgspec.structs.replace(observed, damping={**observed.damping, vip: found})
    return observed


def _fold_proof(observed: Observed, vip: IPAddress, proof: Proof) -> Observed:
    before = observed.proofs.get(vip)
    since = before.since if before is not None and before.ok == proof.ok else proof.at
    draining = observed.draining
    if proof.ok and vip in draining:
        draining = {other: until for other, until in draining.items() if other != vip}
    return msgspec.structs.replace(
        observed,
        proofs={**observed.proofs, vip: msgspec.structs.replace(proof, since=since)},
        draining=draining,
    )
