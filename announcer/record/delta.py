"""What changed from one plain value to another: a few words a line instead of the whole state.

A change of a dict is a dict of changes by key; ``[value]`` stands for a new value, ``[]`` for one that went away.
"""

from __future__ import annotations

from typing import Any


def delta(before: Any, after: Any) -> Any:
    """The change, or None if there is none."""
    if before == after:
        return None
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [after]
    changes: dict[str, Any] = {key: [] for key in before if key not in after}
    for key, value in after.items():
        change = delta(before[key], value) if key in before else [value]
        if change is not None:
            changes[key] = change
    return changes


def applied(before: Any, change: Any) -> Any:
    """``before`` after ``change``. Raises ``ValueError`` if the one does not fit the other."""
    if change is None:
        return before
    if isinstance(change, list):
        if len(change) != 1:
            raise ValueError("a change that removes the whole")
        return change[0]
    if not isinstance(before, dict) or not isinstance(change, dict):
        raise ValueError("a change of a part of something that has none")
    after = dict(before)
    for key, part in change.items():
        if part == []:
            after.pop(key, None)
        else:
            after[key] = applied(before.get(key), part)
    return after
