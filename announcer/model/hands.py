"""The interface of the two hands, as the run loop sees them.

Both read back rather than remember (``observe``) and both may be given the same step twice (``apply`` is idempotent).
The datapath's calls are system calls of microseconds and are made in place; the speaker is another process, so its
calls are awaited, and it takes many steps at once because bulk announcements are what makes the engine fast.

What is observed is never changed afterwards. A table of it that is the same as last time should be the same object,
and so should the values in it: that is what makes a look at thousands of VIPs cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from announcer.model.net import IPAddress
from announcer.model.observed import BgpObserved, DatapathObserved, Outcome
from announcer.model.steps import AnyStep


class DatapathHand(Protocol):
    """Carries out ``AttachDevices``, ``ProgramFrontend``, ``Verify``, ``RemoveFrontend`` and the two guard steps."""

    def observe(self, toward: Sequence[IPAddress]) -> DatapathObserved:
        """Read everything back from the kernel. ``toward``: the peers' addresses, see ``AttachDevices``.

        Never raises for what the kernel says: trouble is part of the answer (``problem``, ``damaged``).
        """
        ...

    def apply(self, step: AnyStep) -> Outcome:
        """Carry out one step. Never raises for what the kernel says: trouble is part of the outcome."""
        ...


class BgpHand(Protocol):
    """Carries out ``ConfigureNeighbors``, ``Announce``, ``Withdraw`` and ``EndOfRib``."""

    async def observe(self) -> BgpObserved:
        """Ask the speaker for everything; ``reachable`` False if it does not answer."""
        ...

    async def apply(self, steps: Sequence[AnyStep]) -> list[Outcome]:
        """Carry out the steps in order; the outcomes are in the same order.

        ``done`` for ``Announce`` and ``Withdraw`` means acknowledged by the engine; that it was *sent* is told by
        the next ``observe``.
        """
        ...
