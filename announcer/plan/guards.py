"""Aggregates draw in packets for addresses that nobody uses: those are dropped before the first router may send one.

An aggregate is announced only behind a guard that was read back from the kernel, one round after it was set; so no
order of lanes has to be kept. The guard goes when no peer can hold the aggregate any more.
"""

from __future__ import annotations

from announcer.model.net import IPNetwork
from announcer.model.steps import AnyStep, GuardAggregate, UnguardAggregate
from announcer.plan.view import View


def guard_lanes(view: View) -> list[AnyStep]:
    """Guards to be set, and those that nothing needs any more."""
    guards = view.observed.datapath.guards
    missing = _sorted(view.aggregates - guards)
    steps: list[AnyStep] = [GuardAggregate(lane=_lane(prefix), prefix=prefix) for prefix in missing]
    if view.desired.complete and view.observed.bgp.reachable:
        idle = [prefix for prefix in _sorted(guards - view.aggregates) if not _may_draw_packets(view, prefix)]
        steps += [UnguardAggregate(lane=_lane(prefix), prefix=prefix) for prefix in idle]
    return steps


def _may_draw_packets(view: View, prefix: IPNetwork) -> bool:
    """Some peer holds the aggregate: it is in its Adj-RIB-Out, or we have no record of what it believes."""
    if any(prefix in peer.rib for peer in view.peers().values()):
        return True
    return any(view.may_be_stale(neighbor) for neighbor in view.desired.neighbors.values())


def _lane(prefix: IPNetwork) -> str:
    return f"guard {prefix}"


def _sorted(prefixes: frozenset[IPNetwork]) -> list[IPNetwork]:
    return sorted(prefixes, key=lambda prefix: (prefix.version, prefix))
