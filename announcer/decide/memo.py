"""Not deciding twice what depends on the same values.

A change of one slice in a cluster of 10,000 Services leaves the others as they are: the very same values, since
whoever makes snapshots shares what did not change. So what was computed from them is still right, and looking it up
costs next to nothing. It stays a function of its arguments: forgetting everything at any moment changes nothing but the
time it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import is_
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """Results by the identity of values that never change. At most ``2 * limit`` of them are kept."""

    def __init__(self, limit: int) -> None:
        """``limit``: when so many are there, what was not asked for since the last time goes."""
        self._limit = limit
        self._young: dict[int, tuple[tuple[Any, ...], T]] = {}
        self._old: dict[int, tuple[tuple[Any, ...], T]] = {}

    def get(self, values: tuple[Any, ...], rest: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
        """``compute()``, or what it gave for these very ``values`` and an equal ``rest``."""
        # One number as the key takes a tenth of the memory of what it is made of. Two that are the same by accident
        # only take turns.
        key = hash((*map(id, values), *rest))
        found = self._young.get(key)
        if found is not None and _is_for(found[0], values, rest):
            return found[1]
        found = self._old.pop(key, None)
        if found is None or not _is_for(found[0], values, rest):
            found = ((*values, *rest), compute())
        if len(self._young) >= self._limit:
            self._old, self._young = self._young, {}
        self._young[key] = found
        return found[1]


def _is_for(known: tuple[Any, ...], values: tuple[Any, ...], rest: tuple[Hashable, ...]) -> bool:
    return all(map(is_, known, values)) and known[len(values) :] == rest
