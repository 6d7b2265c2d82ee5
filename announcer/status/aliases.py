"""``lockstep run --metrics-aliases``: the metrics under the names of MetalLB's speaker, for dashboards that know them.

The values are those of our own metrics. ``peer`` is ``ADDRESS:PORT``. Names that end in ``_total`` and are gauges were
so there, too. Where no cluster allocates addresses this agent does, and only then it speaks for the controller.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from announcer.model.net import by_number
from announcer.snapshot import ConfigState
from announcer.status.peer_figures import peer_figures
from announcer.status.sight import Sight
from announcer.status.vip_state import VipState, see_vip


def alias_metrics(sight: Sight) -> Iterator[Metric | None]:
    """All of this moment, and None where it may be stopped at."""
    yield from _bgp(sight)
    yield from _client(sight)
    yield from _announced(sight)
    if sight.snapshot.standalone:
        yield from _allocator(sight)


def _bgp(sight: Sight) -> Iterator[Metric]:
    up = GaugeMetricFamily("metallb_bgp_session_up", "1 if the session is Established", labels=["peer"])
    updates = CounterMetricFamily("metallb_bgp_updates", "UPDATE messages sent", labels=["peer"])
    announced = GaugeMetricFamily("metallb_bgp_announced_prefixes_total", "Prefixes sent", labels=["peer"])
    pending = GaugeMetricFamily("metallb_bgp_pending_prefixes_total", "Changes not sent yet", labels=["peer"])
    # A peer that gets another name has one endpoint twice until the speaker knows; the wanted one comes last.
    found = {one.endpoint: one for one in sorted(peer_figures(sight), key=lambda one: one.name in sight.desired.rib)}
    for endpoint, one in sorted(found.items()):
        up.add_metric([endpoint], float(one.up))
        updates.add_metric([endpoint], float(one.updates))
        announced.add_metric([endpoint], float(one.announced))
        pending.add_metric([endpoint], float(one.pending))
    yield from (up, updates, announced, pending)


def _client(sight: Sight) -> Iterator[Metric]:
    view = sight.snapshot.config
    loaded = view.config is not None
    stale = loaded and view.state is not ConfigState.APPLIED
    yield CounterMetricFamily("metallb_k8s_client_updates", "What the source has told", value=sight.source_updates)
    yield CounterMetricFamily(
        "metallb_k8s_client_update_errors", "Of that, what had something wrong", value=sight.source_update_errors
    )
    yield GaugeMetricFamily("metallb_k8s_client_config_loaded_bool", "1 if one is in force", value=float(loaded))
    yield GaugeMetricFamily("metallb_k8s_client_config_stale_bool", "1 if it is not the newest", value=float(stale))


def _announced(sight: Sight) -> Iterator[Metric | None]:
    announced = GaugeMetricFamily(
        "metallb_speaker_announced",
        "Services that this node announces, to any peer",
        labels=["service", "protocol", "node", "ip"],
    )
    for vip in sorted(sight.desired.vips, key=by_number):
        yield None
        decision = sight.desired.vips[vip]
        if see_vip(sight, vip).state is VipState.ANNOUNCED:
            for service in decision.services:
                announced.add_metric([str(service), "bgp", sight.snapshot.node_name, str(vip)], 1.0)
    yield announced


def _allocator(sight: Sight) -> Iterator[Metric]:
    size = GaugeMetricFamily("metallb_allocator_addresses_total", "Addresses of a pool", labels=["pool"])
    used = GaugeMetricFamily("metallb_allocator_addresses_in_use_total", "Those that are given", labels=["pool"])
    config = sight.snapshot.config.config
    claimed = [vip for vip, decision in sight.desired.vips.items() if decision.services]
    for pool in config.pools if config is not None else ():
        size.add_metric([pool.name], float(sum(item.size for item in pool.ranges)))
        used.add_metric([pool.name], float(sum(map(pool.contains, claimed))))
    yield from (size, used)
    given = sum(bool(decision.vips) for decision in sight.desired.services.values())
    yield GaugeMetricFamily("metallb_allocator_services_allocated_total", "Services with an address", value=given)
