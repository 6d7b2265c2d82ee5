"""Not deciding twice what depends on the same values.

A change of one slice in a cluster of 10,000 Services leaves the others as they are: the very same values, since
whoever makes snapshots shares what did not change. So what was computed from them is still right, and looking it up
costs next to nothing. It stays a function of its arguments: forgetting everything at any moment changes nothing but the
time it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """Results by the identity of values that never change. At most ``2 * limit`` of them are kept."""

    def __init__(self, limit: int) -> None:
        """``limit``: when so many are there, what was not asked for since the last time goes."""
        self._limit = limit
        self._young: dict[Hashable, tuple[tuple[Any, ...], T]] = {}
        self._old: dict[Hashable, tuple[tuple[Any, ...], T]] = {}

    def get(self, values: tuple[Any, ...], rest: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
        """``compute()``, or what it gave for these very ``values`` and an equal ``rest``."""
        key = (*map(id, values), *rest)
        # The values are kept with the result, so nothing else can have their ids.
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None) or (values, compute())
            if len(self._young) >= self._limit:
                self._old, self._young = self._young, {}
            self._young[key] = found
        return found[1]
