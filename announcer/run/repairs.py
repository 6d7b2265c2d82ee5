"""Counting what had to be repaired: things that were right once and that somebody else changed.

An operator who sees the numbers grow has something on the node that fights with Lockstep.
"""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter

from announcer.model.changes import changed
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import IPNetwork
from announcer.model.observed import BgpObserved, DatapathObserved, Outcome, OutcomeState
from announcer.model.steps import AttachDevices, GuardAggregate, ProgramFrontend, RemoveFrontend, UnguardAggregate


class Repair(StrEnum):
    """What was repaired.

    ``link``: a program that was detached. ``pin``: pins or the whole BPF file system gone, programs still running.
    ``device``: an ingress device that was made anew or is new. ``entry``: entries of a frontend that were changed or
    removed. ``guard``: the same of an aggregate. ``speaker``: a speaker that went away and came back.
    """

    LINK = "link"
    PIN = "pin"
    DEVICE = "device"
    ENTRY = "entry"
    GUARD = "guard"
    SPEAKER = "speaker"


class RepairMeter:
    """Remembers what this agent has set right once; what it has to set right again was a repair."""

    def __init__(self) -> None:
        """Nothing was set right yet, so nothing counts as a repair before that."""
        self.registry = CollectorRegistry()
        self._repairs = Counter(
            "lockstep_repairs",
            "Things that were right once, were changed by somebody else, and were repaired",
            labelnames=["kind"],
            registry=self.registry,
        )
        for kind in Repair:
            self._repairs.labels(kind.value)
        self._attached: dict[str, int] = {}
        self._programmed: dict[FrontendKey, Frontend] = {}
        self._looked_at: dict[FrontendKey, Frontend] = {}
        self._guarded: set[IPNetwork] = set()
        self._reached: bool | None = None

    def observed(self, datapath: DatapathObserved, bgp: BgpObserved) -> None:
        """A new look at both sides."""
        if datapath.attached:
            self._attached = {device.name: device.ifindex for device in datapath.devices.values()}
        if not datapath.problem:
            # What a former agent has left in place counts as set right as well.
            for key in changed(self._looked_at, datapath.frontends):
                if key in datapath.frontends and key not in datapath.damaged:
                    self._programmed.setdefault(key, datapath.frontends[key])
            self._looked_at = datapath.frontends
            self._guarded |= datapath.guards
        if bgp.reachable and self._reached is False:
            self._count(Repair.SPEAKER)
        if bgp.reachable or self._reached is not None:
            self._reached = bgp.reachable

    def outcome(self, outcome: Outcome, before: DatapathObserved) -> None:
        """What came of a step; ``before``: the look that led to it."""
        if outcome.state is not OutcomeState.DONE:
            return
        match outcome.step:
            case AttachDevices() if self._attached:
                self._count(self._what_was_attached(before))
            case ProgramFrontend(frontend=frontend):
                if self._programmed.get(frontend.key) == frontend:
                    self._count(Repair.ENTRY)
                self._programmed[frontend.key] = frontend
            case RemoveFrontend(key=key):
                self._programmed.pop(key, None)
            case GuardAggregate(prefix=prefix):
                if prefix in self._guarded:
                    self._count(Repair.GUARD)
                self._guarded.add(prefix)
            case UnguardAggregate(prefix=prefix):
                self._guarded.discard(prefix)

    def _what_was_attached(self, before: DatapathObserved) -> Repair:
        if {device.name: device.ifindex for device in before.devices.values()} != self._attached:
            return Repair.DEVICE
        broken = [device for device in before.devices.values() if not device.attached]
        return Repair.PIN if all(device.unpinned for device in broken) else Repair.LINK

    def _count(self, kind: Repair) -> None:
        self._repairs.labels(kind.value).inc()
