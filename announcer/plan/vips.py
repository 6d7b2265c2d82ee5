"""The lanes of all VIPs: which way each of them goes."""

from __future__ import annotations

from announcer.model.desired import Reason
from announcer.model.steps import AnyStep
from announcer.plan.drain import drain_lane
from announcer.plan.lanes import into_service, out_of_service
from announcer.plan.view import View


def vip_lanes(view: View) -> list[AnyStep]:
    """The lanes of all VIPs that should be served or still are, in the order of their addresses.

    VIPs that go out of service come first: a withdrawal is never kept waiting by programming.
    """
    vips = sorted({*view.wanted, *view.present, *view.desired.vips}, key=lambda vip: (vip.version, vip))
    leaving: list[AnyStep] = []
    entering: list[AnyStep] = []
    for vip in vips:
        decision = view.desired.vips.get(vip)
        if decision is not None and decision.reason is None:
            entering += into_service(view, vip)
        elif decision is not None and decision.reason is Reason.NODE_DRAINING:
            leaving += drain_lane(view, vip)
        elif view.desired.complete:
            leaving += out_of_service(view, vip)
    return leaving + entering
