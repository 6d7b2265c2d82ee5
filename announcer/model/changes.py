"""What has changed between two tables whose makers share the values that did not."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from operator import is_, is_not
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def kept(before: Mapping[K, V], after: Mapping[K, V]) -> Mapping[K, V]:
    """``before`` if ``after`` has the very same values, else ``after``: what is the same is the same table too."""
    return after if changed(before, after) else before


def changed(before: Mapping[K, Any], after: Mapping[K, Any]) -> list[K]:
    """The keys of what came, went, or is another object.

    Found by identity, and side by side as long as no key came or went: to look up thousands of addresses one by one
    costs more than all the rest, since hashing an address is Python code.
    """
    if before is after:
        return []
    if len(before) == len(after) and all(map(is_, before, after)):
        return list(compress(after, map(is_not, before.values(), after.values())))
    found = [key for key, value in after.items() if before.get(key) is not value]
    known = sum(key in before for key in found)
    if len(before) > len(after) - len(found) + known:
        found += [key for key in before if key not in after]
    return found
