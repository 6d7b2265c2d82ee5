"""``fold``: what is known of the world, after one more thing was seen.

The third of the three pure functions. Whatever the hands read back replaces what was known before; outcomes of steps
add the three things that cannot be read back: when a VIP was last proven, until when it drains, and whether peers were
told everything once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from announcer.model.changes import Derived, changed
from announcer.model.lb import Frontend, FrontendKey, Proof
from announcer.model.net import IPAddress
from announcer.model.observed import BgpObserved, Damping, DatapathObserved, Observed, Outcome, OutcomeState
from announcer.model.steps import Announce, Drain, EndOfRib, ProgramFrontend, Shed, Verify, Withdraw

T = TypeVar("T")

#: A withdrawal for want of proof is forgotten after so many seconds without another.
FLAP_MEMORY = 300.0

Event = DatapathObserved | BgpObserved | Outcome


def fold(observed: Observed, event: Event, now: float) -> Observed:
    """``observed`` with ``event``, seen at ``now`` (CLOCK_MONOTONIC seconds), taken in.

    Pure; the same events in the same order give the same value. What stays as it was stays the same object.
    """
    match event:
        case DatapathObserved():
            return _fold_datapath(observed, event, now)
        case BgpObserved():
            return msgspec.structs.replace(observed, bgp=event)
        case Outcome():
            return fold_outcomes(observed, (event,), now)


def fold_outcomes(observed: Observed, outcomes: Iterable[Outcome], now: float) -> Observed:
    """``observed`` with all of these taken in, one after the other; each table is copied at most once."""
    tables = _Tables(observed)
    for outcome in outcomes:
        _fold_outcome(tables, outcome, now)
    return tables.observed()


class _Tables:
    """Observed state in the making: what was not changed is what it was."""

    def __init__(self, before: Observed) -> None:
        self._before = before
        self._changed: dict[str, Any] = {}

    def get(self, name: str) -> Mapping[IPAddress, Any]:
        """One of the tables by VIP."""
        found: Mapping[IPAddress, Any] = self._changed.get(name, getattr(self._before, name))
        return found

    def put(self, name: str, vip: IPAddress, value: object) -> None:
        """Set one value."""
        self._own(name)[vip] = value

    def drop(self, name: str, vip: IPAddress) -> None:
        """Remove one value, if it is there."""
        if vip in self.get(name):
            del self._own(name)[vip]

    def complete(self) -> None:
        """Some peer was told everything."""
        self._changed["completed"] = True

    def observed(self) -> Observed:
        """What came of it."""
        return msgspec.structs.replace(self._before, **self._changed) if self._changed else self._before

    def _own(self, name: str) -> dict[IPAddress, Any]:
        if name not in self._changed:
            self._changed[name] = Derived(getattr(self._before, name))
        own: dict[IPAddress, Any] = self._changed[name]
        return own


def _fold_datapath(observed: Observed, seen: DatapathObserved, now: float) -> Observed:
    """Proofs and drains of a VIP that has no entries left are forgotten: nothing outlives its object.

    A read-back that failed says nothing about entries, so nothing is forgotten on its strength.
    """
    if seen.problem:
        return msgspec.structs.replace(observed, datapath=seen)
    present = _present.of(seen.frontends)
    unknown = observed.last_arrival is None  # a new agent: packets may have come just before it looked
    arrived = unknown or seen.arrivals != observed.datapath.arrivals
    stale = [vip for vip, found in observed.damping.items() if now - found.at >= FLAP_MEMORY]
    return msgspec.structs.replace(
        observed,
        datapath=seen,
        proofs=present.only("proofs", observed.proofs),
        draining=present.only("draining", observed.draining),
        shedding=present.only("shedding", observed.shedding),
        last_arrival=now if arrived else observed.last_arrival,
        damping=_without(observed.damping, stale),
    )


class _Present:
    """The VIPs of the last frontends, and the tables that were found to be of no others.

    A look that finds nothing new brings the same frontends again, and proofs of the same VIPs.
    """

    def __init__(self) -> None:
        self._frontends: Mapping[FrontendKey, Frontend] = {}
        self._vips: set[IPAddress] = set()
        self._known: dict[str, Mapping[IPAddress, Any]] = {}

    def of(self, frontends: Mapping[FrontendKey, Frontend]) -> _Present:
        """Look at these."""
        before, self._frontends = self._frontends, frontends
        if any((key in before) is not (key in frontends) for key in changed(before, frontends)):
            self._vips, self._known = {key.vip for key in frontends}, {}
        return self

    def only(self, name: str, values: dict[IPAddress, T]) -> dict[IPAddress, T]:
        """``values`` without those of VIPs that have no frontend. ``name``: which table it is."""
        suspects = changed(self._known.get(name, {}), values)
        strangers = [vip for vip in suspects if vip in values and vip not in self._vips]
        self._known[name] = values = _without(values, strangers)
        return values


_present = _Present()


def _without(values: dict[IPAddress, T], gone: Collection[IPAddress]) -> dict[IPAddress, T]:
    if not gone:
        return values
    left = Derived(values)
    for vip in gone:
        del left[vip]
    return left


def _fold_outcome(tables: _Tables, outcome: Outcome, now: float) -> None:
    match outcome.step:
        case Verify(vip=vip) if outcome.proof is not None:
            _fold_proof(tables, vip, outcome.proof)
        case ProgramFrontend(frontend=frontend) if outcome.state is OutcomeState.FAILED:
            # What could not be programmed is not served: as good as a proof that failed.
            _fold_proof(tables, frontend.key.vip, Proof(ok=False, at=now, problem=outcome.problem))
        case EndOfRib() if outcome.state is OutcomeState.DONE:
            tables.complete()
        case Drain(vip=vip, until=until) if outcome.state is OutcomeState.WAITING:
            tables.put("draining", vip, until)
        case Shed(vip=vip, until=until) if outcome.state is OutcomeState.WAITING:
            tables.put("shedding", vip, until)
        case Announce(lane=lane) if outcome.state is not OutcomeState.FAILED:
            # Packets may come again, so whatever drain was over has to begin anew.
            for vip in [vip for vip in tables.get("draining") if str(vip) == lane]:
                tables.drop("draining", vip)
        case Withdraw(lane=lane) if outcome.state is not OutcomeState.FAILED:
            _fold_withdrawal(tables, lane, now)


def _fold_withdrawal(tables: _Tables, lane: str, now: float) -> None:
    """One that was made for want of proof counts as a flap: once, however many peers are told."""
    vip = _vip_of(lane)
    proof = tables.get("proofs").get(vip) if vip is not None else None
    if vip is None or proof is None or proof.ok:
        return
    before = tables.get("damping").get(vip)
    if before is None or before.since != proof.since:
        flaps = 1 if before is None else before.flaps + 1
        tables.put("damping", vip, Damping(flaps=flaps, since=proof.since, at=now))


def _vip_of(lane: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(lane)
    except ValueError:
        return None  # the lane of something else


def _fold_proof(tables: _Tables, vip: IPAddress, proof: Proof) -> None:
    before = tables.get("proofs").get(vip)
    since = before.since if before is not None and before.ok == proof.ok else proof.at
    tables.put("proofs", vip, msgspec.structs.replace(proof, since=since))
    if proof.ok:
        tables.drop("draining", vip)
