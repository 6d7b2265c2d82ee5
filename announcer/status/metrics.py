"""Prometheus metrics, made from the agent's values at the moment of the scrape.

Nothing is remembered between scrapes, so no series outlives the object that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from announcer.consistency import check
from announcer.model.net import by_number
from announcer.model.observed import BgpObserved
from announcer.plan import held_until
from announcer.snapshot import ConfigState
from announcer.status.aliases import alias_metrics
from announcer.status.peer_figures import peer_figures
from announcer.status.sight import Sight


class SightCollector(Collector):
    """Turns one look at the agent into metrics."""

    def __init__(self, look: Callable[[], Sight], *, aliases: bool = False) -> None:
        """``look`` gives the agent's values now. ``aliases``: also under the names of MetalLB's speaker."""
        self._look = look
        self._aliases = aliases

    def collect(self) -> Iterator[Metric]:
        """All metrics of this moment."""
        yield from (family for family in families(self._look(), aliases=self._aliases) if family is not None)


def families(sight: Sight, *, aliases: bool = False) -> Iterator[Metric | None]:
    """All metrics of one moment, and None now and then, where who has other things to do may stop."""
    yield from _bgp(sight)
    yield from _config(sight)
    yield from _vips(sight)
    yield from _datapath(sight)
    if aliases:
        yield from alias_metrics(sight)


def _bgp(sight: Sight) -> Iterator[Metric]:
    up = GaugeMetricFamily("lockstep_bgp_session_up", "1 if the session is Established", labels=["peer"])
    announced = GaugeMetricFamily(
        "lockstep_bgp_announced_prefixes", "Prefixes sent to an established peer", labels=["peer"]
    )
    pending = GaugeMetricFamily(
        "lockstep_bgp_pending_prefixes", "Changes that the peer was not sent yet", labels=["peer"]
    )
    updates = CounterMetricFamily("lockstep_bgp_updates", "UPDATE messages sent", labels=["peer"])
    bfd = GaugeMetricFamily("lockstep_bfd_session_up", "1 if the BFD session is up", labels=["peer"])
    for peer in peer_figures(sight):
        up.add_metric([peer.name], float(peer.up))
        announced.add_metric([peer.name], float(peer.announced))
        pending.add_metric([peer.name], float(peer.pending))
        updates.add_metric([peer.name], float(peer.updates))
        if peer.bfd_up is not None:
            bfd.add_metric([peer.name], float(peer.bfd_up))
    yield from (up, announced, pending, updates, bfd)
    yield from _speaker(sight.observed.bgp)


def _speaker(seen: BgpObserved) -> Iterator[Metric]:
    """Of the speaker itself. Its counters begin again when it does."""
    yield GaugeMetricFamily("lockstep_speaker_up", "1 if the speaker answers", value=float(seen.reachable))
    if not seen.reachable:
        return
    restarts = CounterMetricFamily("lockstep_bgp_engine_restarts", "BGP engines replaced, by cause", labels=["cause"])
    for cause, count in sorted(seen.engine_restarts.items()):
        restarts.add_metric([cause], float(count))
    yield restarts
    resumed = float(seen.engine_resumptions)
    yield CounterMetricFamily("lockstep_bgp_engine_resumptions", "BGP engines that were resumed", value=resumed)
    yield CounterMetricFamily("lockstep_clock_steps", "How often the clock was set", value=float(seen.clock_steps))
    yield CounterMetricFamily(
        "lockstep_bgp_strangers",
        "Connections that came where passive peers are waited for, of none of them, and were reset",
        value=float(seen.strangers),
    )
    yield GaugeMetricFamily(
        "lockstep_bgp_forwarding_kept",
        "1 if an OPEN with graceful restart claims that forwarding was kept",
        value=float(seen.forwarding_kept),
    )


def _config(sight: Sight) -> Iterator[Metric]:
    view = sight.snapshot.config
    loaded = 1.0 if view.config is not None else 0.0
    stale = 1.0 if view.config is not None and view.state is not ConfigState.APPLIED else 0.0
    yield GaugeMetricFamily("lockstep_config_loaded", "1 if a configuration is in force", value=loaded)
    yield GaugeMetricFamily("lockstep_config_stale", "1 if the one in force is not the newest", value=stale)
    yield GaugeMetricFamily(
        "lockstep_source_stale_seconds", "Since when the source has not been heard", value=sight.stale_seconds
    )
    yield GaugeMetricFamily(
        "lockstep_source_synced", "1 if the source has delivered a complete state", value=float(sight.snapshot.synced)
    )
    yield CounterMetricFamily("lockstep_source_updates", "What the source has told", value=sight.source_updates)
    yield CounterMetricFamily(
        "lockstep_source_update_errors", "Of that, what had something wrong", value=sight.source_update_errors
    )
    yield CounterMetricFamily("lockstep_rounds", "How often the agent has looked and planned", value=sight.rounds)


def _vips(sight: Sight) -> Iterator[Metric | None]:
    violations = 0
    for violation in check(sight.desired, sight.observed):
        violations += violation is not None
        yield None
    yield GaugeMetricFamily(
        "lockstep_consistency_violations",
        "Routes at established peers with nothing proven behind them",
        value=float(violations),
    )
    # What is remembered of a VIP for some time after it is gone is nobody's concern any more.
    present = sight.desired.vips.keys() | {key.vip for key in sight.observed.datapath.frontends}
    age = GaugeMetricFamily("lockstep_vip_proof_age_seconds", "Age of the last good proof of a VIP", labels=["vip"])
    for vip in sorted(sight.observed.proofs, key=by_number):
        yield None
        proof = sight.observed.proofs[vip]
        if vip in present:
            age.add_metric([str(vip)], max(0.0, sight.now - (proof.at if proof.ok else proof.since)))
    yield age
    failing = [vip for vip, proof in sight.observed.proofs.items() if not proof.ok]
    wanted = [vip for vip in failing if vip in sight.desired.vips and sight.desired.vips[vip].reason is None]
    yield GaugeMetricFamily(
        "lockstep_vips_unproven",
        "VIPs that this node may announce and whose last proof failed",
        value=float(len(wanted)),
    )
    flaps = GaugeMetricFamily(
        "lockstep_vip_flaps", "How often a VIP was withdrawn lately because its proof failed", labels=["vip"]
    )
    held = GaugeMetricFamily(
        "lockstep_vip_held_seconds", "How long a VIP whose proof came and went is still held back", labels=["vip"]
    )
    for vip, found in sorted(sight.observed.damping.items(), key=lambda item: (item[0].version, item[0])):
        if vip not in present:
            continue
        flaps.add_metric([str(vip)], float(found.flaps))
        until = held_until(sight.observed, vip)
        held.add_metric([str(vip)], max(0.0, (until or 0.0) - sight.now))
    yield from (flaps, held)


def _datapath(sight: Sight) -> Iterator[Metric]:
    packets = CounterMetricFamily("lockstep_datapath_packets", "Packets by what became of them", labels=["verdict"])
    for verdict, count in sorted(sight.counters.items()):
        packets.add_metric([verdict], float(count))
    used = GaugeMetricFamily("lockstep_datapath_map_used", "Entries in use", labels=["map"])
    limit = GaugeMetricFamily("lockstep_datapath_map_max", "Entries that fit", labels=["map"])
    for name, usage in sorted(sight.observed.datapath.maps.items()):
        used.add_metric([name], float(usage.used))
        limit.add_metric([name], float(usage.max))
    attached = GaugeMetricFamily(
        "lockstep_datapath_attached", "1 if our programs are attached to the device", labels=["device", "hook"]
    )
    for device in sight.observed.datapath.devices.values():
        attached.add_metric([device.name, device.hook or ""], float(device.attached))
    yield from (packets, used, limit, attached)
    forwarder = sight.observed.datapath.forwarder
    if forwarder is not None:
        up = GaugeMetricFamily("lockstep_forwarder_up", "1 if who forwards in our place is healthy", labels=["name"])
        up.add_metric([forwarder.name], float(forwarder.healthy))
        yield up
