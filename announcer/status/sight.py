"""What the views look at: the agent's values at one moment."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec

from announcer.model.desired import Desired
from announcer.model.observed import Observed
from announcer.snapshot import Snapshot


class Sight(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One moment of one agent. ``now`` is CLOCK_MONOTONIC; ``wall`` the Unix time of the same moment, in seconds.

    ``closed_ports``: health-check node ports on which nothing of ours listens, and why. ``counters``: packets by
    verdict. ``stale_seconds``: since when the source has not been heard, 0 if it is well. ``source_updates``: what it
    has told since the agent began, ``source_update_errors``: what of that brought a problem that was not there before.
    ``rounds``: how often the agent has looked and planned.
    """

    snapshot: Snapshot
    desired: Desired
    observed: Observed
    now: float
    wall: float
    counters: Mapping[str, int] = {}
    source_problems: tuple[str, ...] = ()
    stale_seconds: float = 0.0
    source_updates: int = 0
    source_update_errors: int = 0
    rounds: int = 0
    closed_ports: Mapping[int, str] = {}

    @functools.cached_property
    def lengths(self) -> frozenset[tuple[int, int]]:
        """The IP version and the prefix length of every route that some peer holds. There are few of them.

        So the routes to one VIP are looked up; to search them for each of thousands would take minutes.
        """
        ribs = (peer.rib for peer in self.observed.bgp.peers.values())
        return frozenset((nlri.version, nlri.prefixlen) for rib in ribs for nlri in rib)
