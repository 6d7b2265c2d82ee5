"""How long a VIP is held back whose proof comes and goes.

Every return moves connections between nodes, so one that will not last does harm. The first withdrawal for want of
proof is forgiven: the VIP comes back with the proof. From the second on the proof has to hold for a while first, twice
as long every time.
"""

from __future__ import annotations

from announcer.model.net import IPAddress
from announcer.model.observed import Observed
from announcer.plan.settings import PlanSettings


def hold_time(flaps: int, settings: PlanSettings) -> float:
    """For how many seconds the proof has to hold before the VIP is announced again."""
    if flaps < 2:
        return 0.0
    # The exponent is bounded as well: a float has no room for 2 to the power of a week of flaps.
    return min(settings.flap_hold * 2.0 ** min(flaps - 2, 32), settings.flap_hold_max)


def held_until(observed: Observed, vip: IPAddress, settings: PlanSettings | None = None) -> float | None:
    """Until when (CLOCK_MONOTONIC seconds) ``vip`` is held back though it is proven; None if it is not proven."""
    proof, found = observed.proofs.get(vip), observed.damping.get(vip)
    if proof is None or not proof.ok or found is None:
        return None
    return proof.since + hold_time(found.flaps, settings or PlanSettings())
