"""How long it takes from an event to the kernel, and from an event to the peer.

A change of a VIP's frontends starts both clocks. The first stops when a good proof of the new state exists (entries
read back), the second when every route of the VIP was sent to every established peer.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Histogram

from announcer.model.bgp import PeerObserved, PeerState
from announcer.model.changes import changed
from announcer.model.desired import Desired
from announcer.model.net import IPAddress
from announcer.model.observed import Observed

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LatencyMeter:
    """Keeps the start times of what is under way, and the two histograms, both in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives CLOCK_MONOTONIC seconds."""
        self._clock = clock
        self.registry = CollectorRegistry()
        self._program = Histogram(
            "lockstep_program_latency_seconds",
            "From an event to its entries read back from the kernel and proven",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._announce = Histogram(
            "lockstep_announce_latency_seconds",
            "From an event to the UPDATE sent to every established peer",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._programming: dict[IPAddress, float] = {}
        self._announcing: dict[IPAddress, float] = {}

    def desired(self, before: Desired, after: Desired) -> None:
        """A new decision: start the clocks of what it changes, drop those of what it gives up."""
        now = self._clock()
        for vip in changed(before.vips, after.vips):
            old, new = before.vips.get(vip), after.vips.get(vip)
            if new is None or new.reason is not None:
                self._programming.pop(vip, None)
                self._announcing.pop(vip, None)
            elif old is None or old.reason is not None:
                self._announcing.setdefault(vip, now)
            if new is not None and new.reason is None and old is None:
                self._programming.setdefault(vip, now)
        for vip in {key.vip for key in changed(before.frontends, after.frontends)}:
            decision = after.vips.get(vip)
            if decision is not None and decision.reason is None and _differs(vip, before, after):
                self._programming.setdefault(vip, now)

    def observed(self, desired: Desired, observed: Observed) -> None:
        """A new observation: stop the clocks of what has arrived."""
        for vip, start in list(self._programming.items()):
            proof = observed.proofs.get(vip)
            if proof is not None and proof.ok and proof.at >= start:
                self._program.observe(proof.at - start)
                del self._programming[vip]
        peers = [peer for peer in observed.bgp.peers.values() if peer.state is PeerState.ESTABLISHED]
        for vip, start in list(self._announcing.items()):
            if _is_sent(vip, desired, peers):
                self._announce.observe(self._clock() - start)
                del self._announcing[vip]


def _differs(vip: IPAddress, before: Desired, after: Desired) -> bool:
    """The same frontends may be other objects."""
    return any(before.frontends.get(key) != after.frontends.get(key) for key in after.vips[vip].frontends)


def _is_sent(vip: IPAddress, desired: Desired, established: list[PeerObserved]) -> bool:
    """Some established peer was sent a route to ``vip``, and none still lacks one."""
    done = [
        (entry := peer.rib.get(nlri)) is not None and entry.sent and not entry.withdrawing
        for peer in established
        for nlri in desired.vips[vip].routes
        if (wish := desired.rib.get(peer.neighbor.name, {}).get(nlri)) is not None and vip in wish.vips
    ]
    return bool(done) and all(done)
