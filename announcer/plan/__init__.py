"""``plan``: what to do next, in order. The rule of the whole product lives here and nowhere else.

::

    announced  ⊆  served  ⊆  allocated        at every instant

The second of the three pure functions. It looks at what should be so and at what is so (read back, never remembered)
and returns the steps that lead from one to the other. Two rules:

1. Whoever carries out a plan may stop after any step, for any reason, and make a new plan from what he then finds.
   Every prefix of a plan keeps the promise.
2. Steps of one lane are done in order, and a step that fails or waits ends its lane for this round. Lanes do not depend
   on each other, except that all lanes come after ``devices`` and ``speaker``.

A VIP goes through its lane like this::

    ProgramFrontend… ─> Verify ─> Announce…                                 into service
    Withdraw… ─> AwaitSent ─> Drain ─> ProgramFrontend…/RemoveFrontend…     out of service
    Announce… (marked) ─> Shed ─> as above ─> AwaitQuiet ─> RemoveFrontend…  the node leaves, see ``drain``
"""

from __future__ import annotations

from announcer.model.desired import Desired
from announcer.model.observed import Observed
from announcer.model.steps import AnyStep, AttachDevices, ConfigureNeighbors, DeclareForwarding
from announcer.plan.damping import held_until
from announcer.plan.drain import drain_is_over
from announcer.plan.end_of_rib import end_of_ribs
from announcer.plan.forwarding import forwarding_kept
from announcer.plan.guards import guard_lanes
from announcer.plan.lanes import pod_cidr_lanes, stray_route_lanes
from announcer.plan.settings import PlanSettings
from announcer.plan.view import View
from announcer.plan.vips import vip_lanes

__all__ = ["PlanSettings", "drain_is_over", "held_until", "next_deadline", "plan"]


def plan(desired: Desired, observed: Observed, now: float, settings: PlanSettings | None = None) -> tuple[AnyStep, ...]:
    """The steps from ``observed`` to ``desired`` at ``now`` (CLOCK_MONOTONIC seconds). Empty: nothing to do.

    Nothing at all is planned before every source has delivered its first complete state, or without a configuration
    that ever was good: an empty list of Services then means "not known", not "none". While part of a source cannot be
    understood, things are added and changed, but nothing is taken away.
    """
    if not desired.synced:
        return ()
    view = View.of(desired, observed, now, settings or PlanSettings())
    return (
        *_devices(view),
        *_neighbors(view),
        *guard_lanes(view),
        *vip_lanes(view),
        *pod_cidr_lanes(view),
        *(stray_route_lanes(view) if desired.complete else ()),
        *end_of_ribs(view),
    )


def next_deadline(observed: Observed, now: float, settings: PlanSettings | None = None) -> float | None:
    """When, at the latest, to plan again though nothing happens: CLOCK_MONOTONIC seconds, or None.

    Good proofs do not count: they are made anew whenever somebody looks. With thousands of them one is always due.
    """
    limits = settings or PlanSettings()
    times = [*observed.draining.values(), *observed.shedding.values()]
    if observed.last_arrival is not None and observed.draining:
        times.append(observed.last_arrival + limits.quiet)
    failing = [proof for proof in observed.proofs.values() if not proof.ok]
    times += [proof.at + limits.proof_interval for proof in failing]
    times += [proof.since + limits.proof_grace for proof in failing]
    held = [held_until(observed, vip, limits) for vip in observed.damping]
    times += [time for time in held if time is not None]
    later = [time for time in times if time > now]
    return min(later) if later else None


def _devices(view: View) -> list[AnyStep]:
    if not view.desired.frontends or view.observed.datapath.complete:
        return []
    peers = tuple(sorted(neighbor.address for neighbor in view.desired.neighbors.values()))
    return [AttachDevices(lane="devices", toward=peers)]


def _neighbors(view: View) -> list[AnyStep]:
    if not view.observed.bgp.reachable:
        return []
    wanted = tuple(sorted(view.desired.neighbors.values(), key=lambda neighbor: neighbor.name))
    running = {name: peer.neighbor for name, peer in view.observed.bgp.peers.items()}
    steps: list[AnyStep] = []
    if any(neighbor.graceful_restart is not None for neighbor in wanted):
        kept = forwarding_kept(view)
        if kept is None and not running:
            return []  # the first OPEN would have to say it
        if kept is not None and kept != view.observed.bgp.forwarding_kept:
            steps.append(DeclareForwarding(lane="speaker", kept=kept))
    if running != {neighbor.name: neighbor for neighbor in wanted}:
        steps.append(ConfigureNeighbors(lane="speaker", neighbors=wanted))
    return steps
