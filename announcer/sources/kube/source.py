"""All resources together, as one sequence of events.

Nothing is told before every resource has been read completely once. After that, changes are collected while nobody
takes them, so a reader that is busy gets one event for all that happened meanwhile.

A new bgp-config is told together with the Secrets that it names: a peer that gets its password a moment later than its
configuration would lose its session in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from announcer.config import parse_config_map
from announcer.model.errors import ConfigProblem
from announcer.model.objects import KIND_OF, ConfigMap, EndpointSlice, Kind, ObjectKey
from announcer.sources.events import Changes, Replace, SourceEvent
from announcer.sources.kube.access import Access
from announcer.sources.kube.mirror import Delta
from announcer.sources.kube.patience import Timing
from announcer.sources.kube.reflector import Reflector
from announcer.sources.kube.resources import (
    ENDPOINT_SLICES,
    SERVICES,
    Resource,
    config_map,
    other_nodes,
    own_node,
    secret,
)

Identity = tuple[Kind, ObjectKey]


class KubeSource:
    """Delivers the ConfigMap, the Secrets that it names, Nodes, Services and EndpointSlices of one API server."""

    def __init__(
        self,
        access: Access,
        *,
        node_name: str,
        config: ObjectKey,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``config`` names the ConfigMap; the Secrets are looked for in its namespace."""
        self._access = access
        self._config = config
        self._timing = timing or Timing()
        self._clock = clock
        self._sleep = sleep
        self._news = asyncio.Event()
        self._pending: dict[Identity, Delta] = {}
        self._told: tuple[tuple[ConfigProblem, ...], bool] = ((), False)
        self._held_since: float | None = None
        self._named: frozenset[ObjectKey] = frozenset()
        self._tasks: dict[Reflector, asyncio.Task[None]] = {}
        self._fixed = [
            self._reflector(resource)
            for resource in (config_map(config), own_node(node_name), other_nodes(node_name), SERVICES, ENDPOINT_SLICES)
        ]
        self._secrets: dict[ObjectKey, Reflector] = {}

    @property
    def stale_seconds(self) -> float:
        """Since when some resource is not heard of, in seconds; 0 while all watches stand."""
        return max(reflector.stale_seconds for reflector in self._fixed)

    def name_secrets(self, keys: Iterable[ObjectKey]) -> None:
        """Secrets that a configuration names which does not come from the ConfigMap."""
        self._named = frozenset(keys)
        self._news.set()

    def look_closely(self, wanted: bool) -> bool:
        """While ``wanted``, look at the other Nodes every few seconds instead of every few minutes."""
        return self._polled_nodes.look_closely(wanted)

    def look_again(self) -> None:
        """Look at the other Nodes soon, once."""
        self._polled_nodes.look_again()

    @property
    def _polled_nodes(self) -> Reflector:
        (nodes,) = (reflector for reflector in self._fixed if reflector.resource.polled)
        return nodes

    async def events(self) -> AsyncIterator[SourceEvent]:
        """A complete state first, then what changes. Before it, only troubles. Ends only when it is cancelled."""
        for reflector in self._fixed:
            self._start(reflector)
        try:
            complete = False
            while True:
                await self._await_news()
                self._follow_secrets()
                if not complete and self._synced():
                    complete = True
                    yield self._everything()
                    continue
                event = self._changes() if complete else self._nothing_yet()
                if event is not None:
                    yield event
        finally:
            await self._end(self._tasks)

    async def _await_news(self) -> None:
        """Until something has changed, or what is held back must not wait longer."""
        patience = None
        if self._held_since is not None:
            patience = max(0.0, self._held_since + self._timing.hold - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._news.wait()
        self._news.clear()
        for task in self._tasks.values():
            if task.done():
                task.result()  # a bug: nothing that the API server does ends one

    def _reflector(self, resource: Resource) -> Reflector:
        return Reflector(resource, self._access, self._collect, self._timing, clock=self._clock, sleep=self._sleep)

    def _start(self, reflector: Reflector) -> None:
        task = asyncio.create_task(reflector.run(), name=f"follow {reflector.resource.name}")
        task.add_done_callback(lambda _: self._news.set())
        self._tasks[reflector] = task

    async def _end(self, reflectors: Iterable[Reflector]) -> None:
        tasks = [self._tasks.pop(reflector) for reflector in list(reflectors)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _collect(self, deltas: list[Delta]) -> None:
        """What is not told yet: of each object the state that was told last, and the present one."""
        for delta in deltas:
            item = delta.after if delta.after is not None else delta.before
            if item is not None:
                identity = KIND_OF[type(item)], item.key
                first = self._pending.get(identity, delta)
                self._pending[identity] = Delta(first.before, delta.after)
        self._news.set()

    def _follow_secrets(self) -> None:
        """Follow the Secrets that the configurations of now and of soon name, and no other."""
        wanted = self._named | self._secrets_of_config_map()
        for key in wanted - self._secrets.keys():
            self._secrets[key] = self._reflector(secret(key))
            self._start(self._secrets[key])
        for key in self._secrets.keys() - wanted:
            gone = self._secrets.pop(key)
            task = self._tasks.pop(gone)
            task.cancel()
            self._collect([Delta(item, None) for item in gone.mirror.objects.values()])

    def _secrets_of_config_map(self) -> frozenset[ObjectKey]:
        """Of a ConfigMap that is wrong, nothing can be said: then those that are followed stay."""
        found = self._fixed[0].mirror.objects.get(self._config)
        if not isinstance(found, ConfigMap):
            return frozenset(self._secrets)
        config = parse_config_map(found).config
        if config is None:
            return frozenset(self._secrets)
        names = {peer.password_secret.name for peer in config.peers if peer.password_secret is not None}
        return frozenset(ObjectKey(self._config.namespace, name) for name in names)

    def _synced(self) -> bool:
        return all(one.mirror.synced for one in self._fixed) and self._secrets_answered()

    def _secrets_answered(self) -> bool:
        """Each was read, or it is known why not: one that is forbidden must not keep the others waiting."""
        return all(reflector.answered for reflector in self._secrets.values())

    def _everything(self) -> Replace:
        self._pending.clear()
        self._told = self._problems(), self._heard()
        objects = tuple(item for one in self._all() for item in one.mirror.objects.values())
        return Replace(objects=objects, problems=self._told[0], synced=True)

    def _nothing_yet(self) -> Replace | None:
        """Before the first complete state only the reason why there is none is worth telling."""
        problems = self._problems()
        if (problems, False) == self._told:
            return None
        self._told = problems, False
        return Replace(problems=problems, synced=False)

    def _changes(self) -> Changes | None:
        pending = self._take_pending()
        told = self._problems(), self._heard()
        changed = tuple(delta.after for delta in pending if delta.after is not None)
        removed = tuple(delta.before for delta in pending if delta.before is not None and _leaves(delta))
        if not changed and not removed and told == self._told:
            return None
        self._told = told
        return Changes(changed=changed, removed=removed, problems=told[0], synced=told[1])

    def _take_pending(self) -> list[Delta]:
        """What may be told now: all, but a bgp-config only with its Secrets, or after waiting for them in vain."""
        pending, self._pending = self._pending, {}
        config = Kind.CONFIG_MAP, self._config
        if config in pending and not self._secrets_answered():
            now = self._clock()
            self._held_since = now if self._held_since is None else self._held_since
            if now - self._held_since < self._timing.hold:
                self._pending[config] = pending.pop(config)
                return _real(pending.values())
        self._held_since = None
        return _real(pending.values())

    def _all(self) -> list[Reflector]:
        return [*self._fixed, *self._secrets.values()]

    def _heard(self) -> bool:
        return not any(reflector.trouble for reflector in self._fixed)

    def _problems(self) -> tuple[ConfigProblem, ...]:
        found = []
        for one in self._all():
            if one.trouble:
                hint = "the last state stays in force" if one.mirror.synced else "nothing is announced before"
                found.append(ConfigProblem(file="kubernetes", path=one.resource.name, problem=one.trouble, hint=hint))
            found.extend(problem for problems in one.mirror.problems.values() for problem in problems)
        return tuple(found)


def _real(pending: Iterable[Delta]) -> list[Delta]:
    """Without what changed and changed back."""
    return [delta for delta in pending if delta.before != delta.after]


def _leaves(delta: Delta) -> bool:
    """True if an object is gone, or is gone from the Service that it belonged to."""
    if isinstance(delta.before, EndpointSlice) and isinstance(delta.after, EndpointSlice):
        return delta.before.service != delta.after.service
    return delta.after is None
