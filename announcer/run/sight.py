"""Making the value that status, explain and metrics look at."""

from __future__ import annotations

import time
from collections.abc import Mapping

from announcer.model.errors import TargetError
from announcer.run.agent import Agent
from announcer.run.feed import Feed
from announcer.status.sight import Sight
from datapath.hand import Datapath


class SightMaker:
    """Collects the current values of the agent, its feed and the datapath's counters."""

    def __init__(self, agent: Agent, feed: Feed, datapath: Datapath) -> None:
        """All three of the running agent."""
        self.closed_ports: Mapping[int, str] = {}
        self._agent = agent
        self._feed = feed
        self._datapath = datapath

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
            closed_ports=self.closed_ports,
        )

    def _counters(self) -> dict[str, int]:
        """None while the kernel gives none: the status says why under ``datapath.problem``."""
        try:
            return self._datapath.counters()
        except TargetError:
            return {}
