"""What has changed between two tables whose makers share the values that did not."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from itertools import compress
from operator import is_, is_not
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: To look up a key costs as much as to pass by some twenty: hashing an address is Python code.
_PASSED_BY_IN_A_LOOKUP = 20
_NOTHING = object()


class Derived(dict[K, V]):
    """A copy of another table in which a few keys are set or deleted. It remembers which: nobody need search for them.

    It is made by ``[]``, ``del`` and ``update`` only, and is not changed any more once somebody else has it.
    """

    __slots__ = ("__weakref__", "_origin", "_touched")

    def __init__(self, origin: Mapping[K, V]) -> None:
        """The same as ``origin`` at first, of which nothing is kept alive by this."""
        super().__init__(origin)
        self._origin = weakref.ref(origin) if isinstance(origin, Derived) else None
        self._touched: dict[K, None] = {}

    def __setitem__(self, key: K, value: V) -> None:
        """Set and remember."""
        super().__setitem__(key, value)
        self._touched[key] = None

    def __delitem__(self, key: K) -> None:
        """Delete and remember. Raises ``KeyError``."""
        super().__delitem__(key)
        self._touched[key] = None

    def update(self, values: Mapping[K, V]) -> None:  # type: ignore[override]
        """Set all these and remember."""
        super().update(values)
        self._touched.update(dict.fromkeys(values))

    def touched_since(self, before: Mapping[K, Any]) -> Collection[K] | None:
        """Keys outside of which this and ``before`` are the same; None if that is not known, or would help nobody."""
        touched: dict[K, None] = {}
        at: Derived[K, Any] | None = self
        while at is not None and at is not before:
            if at._origin is None or _PASSED_BY_IN_A_LOOKUP * len(at._touched) > len(at):
                at._origin, at._touched = None, {}
                return None
            touched.update(at._touched)
            at = at._origin()
        return touched if at is not None and _PASSED_BY_IN_A_LOOKUP * len(touched) <= len(self) else None


def kept(before: Mapping[K, V], after: Mapping[K, V]) -> Mapping[K, V]:
    """``before`` if ``after`` has the very same values, else ``after``: what is the same is the same table too."""
    return after if changed(before, after) else before


def changed(before: Mapping[K, Any], after: Mapping[K, Any]) -> list[K]:
    """The keys of what came, went, or is another object.

    Found by identity: among those that were touched if ``after`` is derived from ``before``, else side by side as long
    as no key came or went. To look up thousands of addresses one by one costs more than all the rest.
    """
    if before is after:
        return []
    touched = after.touched_since(before) if isinstance(after, Derived) else None
    if touched is not None:
        return [key for key in touched if before.get(key, _NOTHING) is not after.get(key, _NOTHING)]
    if len(before) == len(after) and all(map(is_, before, after)):
        return list(compress(after, map(is_not, before.values(), after.values())))
    found = [key for key, value in after.items() if before.get(key) is not value]
    known = sum(key in before for key in found)
    if len(before) > len(after) - len(found) + known:
        found += [key for key in before if key not in after]
    return found
