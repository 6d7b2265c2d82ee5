"""The lanes of VIPs: which way each of them goes."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet

from announcer.model.desired import Reason
from announcer.model.net import IPAddress, by_number
from announcer.model.steps import AnyStep
from announcer.plan.drain import drain_lane
from announcer.plan.lanes import into_service, out_of_service, verification
from announcer.plan.view import View


def vip_lanes(
    view: View, vips: Collection[IPAddress], at_rest: AbstractSet[IPAddress] = frozenset()
) -> tuple[list[AnyStep], set[IPAddress]]:
    """The lanes of these VIPs, in the order of their addresses, and the VIPs with more to do than to renew a proof.

    Those ``at_rest`` are known to be in service, and to have nothing else to do than that.
    VIPs that go out of service come first: a withdrawal is never kept waiting by programming.
    """
    leaving: list[AnyStep] = []
    entering: list[AnyStep] = []
    busy: set[IPAddress] = set()
    for vip in sorted((*vips, *at_rest), key=by_number):
        if vip in at_rest:
            entering.append(verification(view, vip))
            continue
        decision = view.desired.vips.get(vip)
        if decision is not None and decision.reason is None:
            lane, steps = entering, into_service(view, vip)
        elif decision is not None and decision.reason is Reason.NODE_DRAINING:
            lane, steps = leaving, drain_lane(view, vip)
        else:
            lane, steps = leaving, out_of_service(view, vip) if view.desired.complete else []
        lane += steps
        if len(steps) > (vip in view.renewals and view.proven(vip)):
            busy.add(vip)
    return leaving + entering, busy
