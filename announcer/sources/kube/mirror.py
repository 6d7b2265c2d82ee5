"""What one resource of the API server looks like, whatever order the news come in.

Two rules carry everything:

- **The older version never wins.** An object is replaced only by a later version of itself; one that was deleted does
  not come back by an earlier event. So duplicates, reordered events and a server that lags behind do no harm.
- **A new beginning replaces, it never empties.** While a complete list comes in, what was known before stays in force;
  it is exchanged as a whole, and only if the list is complete.
"""

from __future__ import annotations

import msgspec

from announcer.model.errors import ConfigProblem
from announcer.model.objects import KubeObject, ObjectKey
from announcer.sources.kube.wire import RemoteObject, number

#: Deleted objects are remembered so that late news do not revive them. So many are enough: news are late by seconds.
_REMEMBERED = 4096


class Delta(msgspec.Struct, frozen=True):
    """One object before and after; None where there is none."""

    before: KubeObject | None
    after: KubeObject | None


class Held(msgspec.Struct, frozen=True):
    """An object and its version. ``item`` None: it was never understood."""

    version: int
    item: KubeObject | None


class Mirror:
    """The objects of one resource.

    ``position`` is the resourceVersion to go on from, empty before the first list. ``problems``: what is wrong with
    objects, by their key.
    """

    def __init__(self) -> None:
        """Empty, and not synced."""
        self.position = ""
        self.synced = False
        self.problems: dict[ObjectKey, tuple[ConfigProblem, ...]] = {}
        self._held: dict[ObjectKey, Held] = {}
        self._deleted: dict[ObjectKey, int] = {}
        self._staged: dict[ObjectKey, RemoteObject] | None = None
        self._seen = 0

    @property
    def staging(self) -> bool:
        """True while a new complete state comes in."""
        return self._staged is not None

    @property
    def objects(self) -> dict[ObjectKey, KubeObject]:
        """All objects that are understood."""
        return {key: held.item for key, held in self._held.items() if held.item is not None}

    def version_of(self, key: ObjectKey) -> int:
        """The version of one object; 0 if there is none."""
        held = self._held.get(key)
        return held.version if held is not None else 0

    def begin(self) -> None:
        """A complete state begins to come in."""
        self._staged = {}

    def abandon(self) -> None:
        """It will not be completed."""
        self._staged = None

    def forget_position(self) -> None:
        """The server does not know our position any more: the next state must be a complete one."""
        self.position = ""

    def is_older(self, version: str) -> bool:
        """True if a complete state of ``version`` would take us back in time."""
        return 0 < number(version) < self._seen

    def is_late(self, new: RemoteObject) -> bool:
        """True if an event of a running watch is older than what was told before it."""
        return self._staged is None and 0 < new.version < self._seen

    def complete(self, version: str) -> list[Delta]:
        """The state that came in is complete as of ``version``: it replaces everything."""
        staged, self._staged = self._staged or {}, None
        deltas = [Delta(self._drop(key), None) for key in [key for key in self._held if key not in staged]]
        self._deleted.clear()
        deltas.extend(self._hold(key, new) for key, new in staged.items())
        self.position = version
        self._seen = number(version)
        self.synced = True
        return [delta for delta in deltas if delta.before != delta.after]

    def take(self, new: RemoteObject, *, deleted: bool = False) -> list[Delta]:
        """One object was added, changed or deleted. While a state comes in, it belongs to that state."""
        if self._staged is not None:
            self._stage(new, deleted)
            return []
        if not self._is_news(new):
            return []
        self.reach(str(new.version))
        if deleted:
            self._remember(new)
            delta = Delta(self._drop(new.key), None)
        else:
            delta = self._hold(new.key, new)
        return [delta] if delta.before != delta.after else []

    def reach(self, version: str) -> None:
        """A bookmark: everything up to ``version`` was told."""
        if number(version) > self._seen:
            self._seen = number(version)
            self.position = version

    def _hold(self, key: ObjectKey, new: RemoteObject) -> Delta:
        """Of an object that cannot be understood any more the last good version stays in force."""
        before = self._held.get(key)
        known = before.item if before is not None else None
        item = new.item if new.item is not None else known
        self._held[key] = Held(new.version, known if item == known else item)
        if new.problems:
            self.problems[key] = new.problems
        else:
            self.problems.pop(key, None)
        return Delta(known, item)

    def _drop(self, key: ObjectKey) -> KubeObject | None:
        self.problems.pop(key, None)
        held = self._held.pop(key, None)
        return held.item if held is not None else None

    def _is_news(self, new: RemoteObject) -> bool:
        if not new.version:
            return True
        held = self._held.get(new.key)
        return new.version > max(held.version if held is not None else 0, self._deleted.get(new.key, 0))

    def _stage(self, new: RemoteObject, deleted: bool) -> None:
        assert self._staged is not None
        before = self._staged.get(new.key)
        if before is not None and new.version and new.version < before.version:
            return
        if deleted:
            self._staged.pop(new.key, None)
        else:
            self._staged[new.key] = new

    def _remember(self, gone: RemoteObject) -> None:
        self._deleted[gone.key] = gone.version
        if len(self._deleted) > _REMEMBERED:
            del self._deleted[next(iter(self._deleted))]
