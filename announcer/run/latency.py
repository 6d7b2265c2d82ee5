"""How long it takes from an event to the kernel, and from an event to the peer.

A change of a VIP's frontends starts both clocks. The first stops when a good proof of the new state exists (entries
read back), the second when every route of the VIP was sent to every established peer.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Histogram

from announcer.model.bgp import PeerState
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
        wanted = {vip for vip, decision in after.vips.items() if decision.reason is None}
        for vip in wanted:
            old = before.vips.get(vip)
            keys = after.vips[vip].frontends
            if old is None or any(before.frontends.get(key) != after.frontends.get(key) for key in keys):
                self._programming.setdefault(vip, now)
            if old is None or old.reason is not None:
                self._announcing.setdefault(vip, now)
        for clocks in (self._programming, self._announcing):
            for vip in clocks.keys() - wanted:
                del clocks[vip]

    def observed(self, desired: Desired, observed: Observed) -> None:
        """A new observation: stop the clocks of what has arrived."""
        for vip, start in list(self._programming.items()):
            proof = observed.proofs.get(vip)
            if proof is not None and proof.ok and proof.at >= start:
                self._program.observe(proof.at - start)
                del self._programming[vip]
        if not self._announcing:
            return
        sent = _sent_everywhere(desired, observed)
        for vip, start in list(self._announcing.items()):
            if vip in sent:
                self._announce.observe(self._clock() - start)
                del self._announcing[vip]


def _sent_everywhere(desired: Desired, observed: Observed) -> set[IPAddress]:
    """VIPs with a route at some established peer and no established peer that still lacks one."""
    sent: set[IPAddress] = set()
    lacking: set[IPAddress] = set()
    for name, rib in desired.rib.items():
        peer = observed.bgp.peers.get(name)
        if peer is None or peer.state is not PeerState.ESTABLISHED:
            continue
        for nlri, wish in rib.items():
            entry = peer.rib.get(nlri)
            done = entry is not None and entry.sent and not entry.withdrawing
            (sent if done else lacking).update(wish.vips)
    return sent - lacking
