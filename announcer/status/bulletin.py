"""From how things are to what is worth an Event: only what changed, not too often, and not twice. Pure.

Agents may create Events and nothing else, so a count in an old Event cannot be raised. What goes to and fro is told the
first few times, then once in a while, with how often it has changed since.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from announcer.status.notices import About, Notice

#: One thing: so many Events at once, then one in so many seconds.
_BURST_OF_ONE = 4.0
_SPACING = 30.0
#: All things together: so many at once, and so many a second in the long run.
_BURST = 25.0
_RATE = 0.5
#: An agent that has just started finds things as they are. What is well then is no news, for so many seconds.
_SETTLING = 60.0
#: Messages of Events have an end.
_LONGEST = 800


class Told(msgspec.Struct):
    """What was told of one thing last, and what has happened to it since."""

    notice: Notice
    at: float
    changes: int = 0
    last: Notice | None = None
    budget: float = _BURST_OF_ONE - 1


class Bulletin:
    """Remembers what was told."""

    def __init__(self, now: float) -> None:
        """``now``: CLOCK_MONOTONIC seconds, as everywhere here."""
        self._told: dict[About, Told] = {}
        self._began = now
        self._budget = _BURST
        self._at = now

    def fold(self, present: Mapping[About, Notice], now: float) -> list[tuple[About, Notice]]:
        """What to tell now, given how things are."""
        self._budget = min(_BURST, self._budget + (now - self._at) * _RATE)
        self._at = now
        news = [(about, notice) for about, notice in present.items() if self._is_news(about, notice, now)]
        # When the budget does not suffice, what needs somebody comes first.
        news.sort(key=lambda pair: (not pair[1].warning, pair[0]))
        told = news[: int(self._budget)]
        self._budget -= len(told)
        return [(about, self._tell(about, notice, now)) for about, notice in told]

    def _is_news(self, about: About, notice: Notice, now: float) -> bool:
        before = self._told.get(about)
        if before is None:
            if notice.warning or now - self._began >= _SETTLING:
                return True
            self._told[about] = Told(notice, now, last=notice)
            return False
        if before.last != notice:
            before.changes += 1
            before.last = notice
        return notice != before.notice and before.budget + (now - before.at) / _SPACING >= 1

    def _tell(self, about: About, notice: Notice, now: float) -> Notice:
        before = self._told.get(about)
        changes = before.changes if before is not None else 0
        self._told[about] = Told(notice, now, last=notice)
        if before is not None:
            left = before.budget + (now - before.at) / _SPACING
            self._told[about].budget = min(_BURST_OF_ONE, left) - 1
        message = notice.message if len(notice.message) <= _LONGEST else notice.message[: _LONGEST - 1] + "…"
        if changes > 1:
            message += f" (changed {changes} times since it was told last)"
        return Notice(notice.reason, message, notice.warning)

    def forget(self, present: Mapping[About, Notice]) -> None:
        """Drop what was told of objects that are gone, some time after."""
        for about in [about for about in self._told if about not in present]:
            if self._at - self._told[about].at > _SPACING * 20:
                del self._told[about]
