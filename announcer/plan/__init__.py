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

from announcer.plan.damping import held_until
from announcer.plan.deadlines import next_deadline
from announcer.plan.drain import drain_is_over
from announcer.plan.planner import Planner, plan
from announcer.plan.settings import PlanSettings

__all__ = ["PlanSettings", "Planner", "drain_is_over", "held_until", "next_deadline", "plan"]
