"""From the sources to the agent: what was read, which configuration counts, and what is wrong with either."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import msgspec

from announcer.config import load
from announcer.decide.drain import node_words
from announcer.inputs import absorb, config_from_event, guard_empty, secrets_of
from announcer.model.errors import ConfigProblem
from announcer.run.agent import Agent
from announcer.run.drain import OPERATOR, DrainFile
from announcer.run.last_good import LastGood
from announcer.run.settings import AgentSettings
from announcer.snapshot import ConfigView, Snapshot, lose_config, take_config
from announcer.sources.events import Changes, Source, SourceEvent
from announcer.sources.folder import FolderSource
from announcer.sources.watch import Watch

log = logging.getLogger(__name__)

#: How often a configuration file given with --config is looked at.
_CONFIG_POLL_SECONDS = 0.5
#: The wish to drain the node is a file, and is seen at once; so often it is looked for where that cannot be watched.
_DRAIN_POLL_SECONDS = 0.2
#: How often it is looked for all the same: should the folder be another one now, nothing tells.
_DRAIN_LOOK_SECONDS = 5.0
#: How often to ask whether what is known of other nodes is fresh, while that is wanted.
_NODES_POLL_SECONDS = 0.2


def open_source(settings: AgentSettings) -> Source:
    """The source that the settings name."""
    if settings.source is not None:
        return FolderSource(settings.source)
    from announcer.sources.kube import ClusterAccess, KubeSource

    access = ClusterAccess(kubeconfig=settings.kubeconfig)
    return KubeSource(access, node_name=settings.node_name, config=settings.config_map)


class Feed:
    """Follows the source and the configuration file, and hands the agent a snapshot for every change."""

    def __init__(self, settings: AgentSettings, agent: Agent, source: Source) -> None:
        """The state folder must exist: the last good configuration is there."""
        self._settings = settings
        self._agent = agent
        self._source = source
        self._last_good = LastGood(settings.state_dir)
        self._view: ConfigView = self._last_good.load()
        self._last: SourceEvent | None = None
        self.problems: tuple[ConfigProblem, ...] = ()
        self.updates = 0
        self.update_errors = 0
        self.leaving = False
        self._left = False
        self._nodes_wanted = False
        self._looked_for: frozenset[str] = frozenset()
        # Before the first snapshot: an agent that was killed while it drained must not announce everything again.
        agent.drain(OPERATOR if DrainFile(settings.state_dir).wanted else "")

    @property
    def stale_seconds(self) -> float:
        """Since when the source cannot be read, in seconds; 0 while it can."""
        return self._source.stale_seconds

    async def follow(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_source())
            group.create_task(self._follow_drain())
            group.create_task(self._follow_nodes())
            if self._settings.config_file is not None:
                group.create_task(self._follow_config_file(self._settings.config_file))

    async def _follow_source(self) -> None:
        async for event in self._source.events():
            self._last = event
            before = {*self.problems, *self._view.problems}
            self._report(event.problems)
            if self._settings.config_file is None:
                self._view = config_from_event(self._view, event)
            self._count(before)
            self._publish(event)

    async def _follow_drain(self) -> None:
        file = DrainFile(self._settings.state_dir)
        with contextlib.ExitStack() as stack:
            watch: Watch | None = None
            with contextlib.suppress(OSError):  # as many watches as the kernel allows are there already
                watch = stack.enter_context(Watch([self._settings.state_dir], settle=0.0, patience=0.0))
            while True:
                if not self.leaving:
                    self._agent.drain(OPERATOR if file.wanted else "")
                if watch is not None:
                    await watch.wait(_DRAIN_LOOK_SECONDS)
                else:
                    await asyncio.sleep(_DRAIN_POLL_SECONDS)

    async def _follow_nodes(self) -> None:
        """After every decision, and over and over while it has to be known whether other nodes are known well."""
        while True:
            known = self._agent.decided.count
            self._agent.know_nodes(self._nodes_fresh(self._agent.snapshot))
            self._look_for(self._agent.desired.by_nodes)
            await self._agent.decided.after(known, _NODES_POLL_SECONDS if self._nodes_wanted else None)

    def leave(self) -> None:
        """The agent is about to end for good: drain, whatever the file says."""
        self.leaving = True
        self._agent.drain("planned exit")

    async def _follow_config_file(self, path: Path) -> None:
        seen: bytes | OSError | None = None
        while True:
            data = _read(path)
            if not _same(data, seen):
                seen = data
                before = {*self.problems, *self._view.problems}
                self._view = self._take_file(path, data)
                self._count(before)
                self._source.name_secrets(secrets_of(self._view))
                if self._last is not None:
                    # Nothing else has changed.
                    self._publish(Changes(problems=self._last.problems, synced=self._last.synced))
            await asyncio.sleep(_CONFIG_POLL_SECONDS)

    def _take_file(self, path: Path, data: bytes | OSError) -> ConfigView:
        if isinstance(data, OSError):
            problem = f"cannot be read: {data.strerror}"
            return lose_config(self._view, ConfigProblem(file=str(path), problem=problem))
        result = load(data, file=str(path))
        after = take_config(self._view, result.config, result.problems)
        return guard_empty(self._view, after, file=str(path))

    def _count(self, before: set[ConfigProblem]) -> None:
        self.updates += 1
        self.update_errors += not before.issuperset((*self.problems, *self._view.problems))

    def _publish(self, event: SourceEvent) -> None:
        """Give the agent what is known now."""
        for problem in self._view.problems:
            if problem not in self._agent.snapshot.config.problems:
                log.error("bgp-config: %s", problem)
        self._last_good.keep(self._view)
        standalone = self._settings.source is not None
        seen = absorb(self._agent.snapshot, event, self._view, standalone=standalone)
        self._agent.take(msgspec.structs.replace(seen, nodes_fresh=self._nodes_fresh(seen)))

    def _nodes_fresh(self, seen: Snapshot) -> bool:
        """A Node object that says "leave" is not obeyed before it is known who else was told so."""
        config = seen.config.config
        wanted = config is not None and seen.node is not None and bool(node_words(seen.node, config.drain))
        fresh = self._source.look_closely(wanted)
        # Once left on fresh knowledge, it stays away: an API server that is gone does not bring it back.
        self._left = wanted and (self._left or fresh)
        self._nodes_wanted = wanted
        return self._left or not wanted

    def _look_for(self, nodes: frozenset[str]) -> None:
        """Packets are sent to their addresses. One that is new, or that is back, may have another than is known.

        A Node says its address before a Pod on it is ready, so one look is enough.
        """
        if nodes - self._looked_for:
            self._source.look_again()
        self._looked_for = nodes

    def _report(self, problems: tuple[ConfigProblem, ...]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.error("source: %s", problem)
        self.problems = problems


def _read(path: Path) -> bytes | OSError:
    try:
        return path.read_bytes()
    except OSError as error:
        return error


def _same(one: bytes | OSError | None, other: bytes | OSError | None) -> bool:
    if isinstance(one, OSError) and isinstance(other, OSError):
        return one.errno == other.errno
    return one == other
