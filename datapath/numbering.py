"""Which ids backends get. Pure; time is a parameter.

The ids of a frontend of few backends lie close together where that can be: its shortcut then says them itself, and a
packet need not ask memory for them (``struct lb_shortcut`` in ``bpf/lb_abi.h``). Such a frontend begins in a window of
ids of its own as long as there is one. It seldom fills it, so there is room for backends that come later, while those
that they replace are still there.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from announcer.model.errors import TargetError
from datapath import abi
from datapath.extents import Extents

_WINDOW = abi.SHORTCUT_NEAR + 1


def take(free: Extents, held: Sequence[int], missing: int, now: float, taken: list[int]) -> None:
    """Take ``missing`` ids for a frontend of which other backends have the ids ``held``; ``taken`` is told of each.

    Those of a frontend of more than a window can hold are in a row, if that can be. Raises ``TargetError`` (ENOSPC).
    """
    if len(held) + missing >= _WINDOW:  # more than a shortcut can name may be as many as that again after an update
        _take_row(free, missing, now, taken)
    elif held:
        _take_near(free, held, missing, now, taken)
    else:
        # One less than a window: the first of all begins with the id that means none.
        _take_row(free, missing, now, taken, page=_WINDOW, room=_WINDOW - 1)
        _take_row(free, missing, now, taken, page=_WINDOW)
        _take_row(free, missing, now, taken)
    while len(taken) < missing:
        number = free.take(1, now)
        if number is None:
            detail = f"lb_backends holds {free.size - free.free() - 1}"
            raise TargetError("take a backend id", errno=errno.ENOSPC, detail=detail)
        taken.append(number)


def _take_row(free: Extents, missing: int, now: float, taken: list[int], *, page: int = 0, room: int = 0) -> None:
    """All of them, if they were not taken yet and if there is such a row."""
    first = None if taken else free.take(missing, now, page=page, room=room)
    if first is not None:
        taken += range(first, first + missing)


def _take_near(free: Extents, held: Sequence[int], missing: int, now: float, taken: list[int]) -> None:
    least, most = min(held), max(held)
    while len(taken) < missing and most - least < _WINDOW:
        number = free.take_one(max(most - _WINDOW + 1, 0), least + _WINDOW, now)
        if number is None:
            return
        least, most = min(least, number), max(most, number)
        taken.append(number)
