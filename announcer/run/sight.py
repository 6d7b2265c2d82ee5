"""Making the value that status, explain and metrics look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from announcer.run.agent import Agent
from announcer.run.feed import Feed
from announcer.status.sight import Sight


class SightMaker:
    """Collects the current values of the agent, its feed and the datapath's counters."""

    def __init__(self, agent: Agent, feed: Feed, counters: Callable[[], Mapping[str, int]]) -> None:
        """All three of the running agent; ``counters``: packets by reason."""
        self.closed_ports: Mapping[int, str] = {}
        self._agent = agent
        self._feed = feed
        self._counters = counters

    def look(self) -> Sight:
        """This moment."""
        return Sight(
            snapshot=self._agent.snapshot,
            desired=self._agent.desired,
            observed=self._agent.observed,
            now=time.monotonic(),
            wall=time.time(),
            counters=self._counters(),
            source_problems=tuple(str(problem) for problem in self._feed.problems),
            stale_seconds=self._feed.stale_seconds,
            source_updates=self._feed.updates,
            source_update_errors=self._feed.update_errors,
            rounds=self._agent.rounds,
            closed_ports=self.closed_ports,
        )
