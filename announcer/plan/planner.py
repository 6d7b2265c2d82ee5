"""One plan after the other, each for the price of what has changed since.

A look at a node with 10,000 VIPs finds most of them as the last one did, and nothing to do for them then. A lane
follows from what is desired and observed of its VIP; so a VIP that had nothing to do has nothing to do until one of
these is another object (:mod:`announcer.plan.index`), or its proof is the next one to be made anew. Lanes with
anything in them are planned every time, since only those depend on the time.
"""

from __future__ import annotations

from announcer.model.desired import Desired
from announcer.model.net import IPAddress
from announcer.model.observed import Observed
from announcer.model.steps import AnyStep
from announcer.plan.end_of_rib import end_of_ribs
from announcer.plan.guards import guard_lanes
from announcer.plan.index import Index
from announcer.plan.lanes import pod_cidr_lanes, stray_route_lanes
from announcer.plan.node import device_lane, speaker_lane
from announcer.plan.settings import PlanSettings
from announcer.plan.view import View
from announcer.plan.vips import vip_lanes


class Planner:
    """Gives what :func:`plan` gives, whatever it was asked before."""

    def __init__(self) -> None:
        """Nothing was planned yet."""
        self._index = Index()
        self._busy: set[IPAddress] = set()
        self.planned = 0

    def plan(
        self, desired: Desired, observed: Observed, now: float, settings: PlanSettings | None = None
    ) -> tuple[AnyStep, ...]:
        """As :func:`plan`. Values that are the same objects as last time are taken to be the same.

        ``planned`` then says how many VIPs' lanes had to be looked at.
        """
        if not desired.synced:
            return ()
        if self._index.fits(desired, observed):
            lanes = self._index.follow(desired, observed) | self._busy
        else:
            self._index = Index()
            self._index.follow(desired, observed)
            lanes = self._index.vips()
        view = View.through(self._index, desired, observed, now, settings or PlanSettings())
        # A VIP that is held back has nothing to do until it is not.
        lanes.update(observed.damping)
        vips, at_rest = [vip for vip in lanes if self._index.knows(vip)], view.renewals - lanes
        self.planned = len(vips) + len(at_rest)
        vip_steps, self._busy = vip_lanes(view, vips, at_rest)
        return (
            *device_lane(view),
            *speaker_lane(view),
            *guard_lanes(view),
            *vip_steps,
            *pod_cidr_lanes(view),
            *(stray_route_lanes(view) if desired.complete else ()),
            *end_of_ribs(view),
        )


def plan(desired: Desired, observed: Observed, now: float, settings: PlanSettings | None = None) -> tuple[AnyStep, ...]:
    """The steps from ``observed`` to ``desired`` at ``now`` (CLOCK_MONOTONIC seconds). Empty: nothing to do.

    Nothing at all is planned before every source has delivered its first complete state, or without a configuration
    that ever was good: an empty list of Services then means "not known", not "none". While part of a source cannot be
    understood, things are added and changed, but nothing is taken away.
    """
    return Planner().plan(desired, observed, now, settings)
