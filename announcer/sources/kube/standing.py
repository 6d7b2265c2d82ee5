"""How it stands with the API server as far as one resource goes: heard or silent, and what of it is worth telling."""

from __future__ import annotations

from collections.abc import Callable

from announcer.sources.kube.patience import Timing


class Standing:
    """``trouble``: why nothing comes, in words, if that has lasted. ``answered``: the first attempt has ended, somehow.

    ``live``: a watch stands, or what is polled was read at the last look.
    """

    def __init__(self, timing: Timing, clock: Callable[[], float]) -> None:
        """Nothing was heard yet. ``clock`` counts seconds."""
        self.trouble = ""
        self.answered = False
        self.live = False
        self._timing = timing
        self._clock = clock
        self._heard = clock()
        self._troubled_since = 0.0
        self._told_at = 0.0

    @property
    def in_trouble(self) -> bool:
        """True from the first failure until all is well, told or not."""
        return bool(self._troubled_since)

    @property
    def silent_seconds(self) -> float:
        """Since when nothing was heard, in seconds."""
        return self._clock() - self._heard

    def hear(self) -> float:
        """Something came; returns when."""
        self._heard = self._clock()
        return self._heard

    def is_well(self) -> bool:
        """A watch stands, or everything was read. True if that is news."""
        self.live = True
        self._heard = self._clock()
        self._troubled_since = 0.0
        news = bool(self.trouble) or not self.answered
        self.trouble = ""
        self.answered = True
        return news

    def fails(self, problem: str) -> bool:
        """An attempt has failed. True if that is news: a connection that comes back at once is nobody's business."""
        now = self._clock()
        self._troubled_since = self._troubled_since or now
        first = not self.answered
        self.answered = True
        if not first and not self._is_worth_telling(problem, now):
            return False
        self.trouble = problem
        self._told_at = now
        return True

    def _is_worth_telling(self, problem: str, now: float) -> bool:
        """A trouble that lasts; later another one, but not every word of a network that fails in many ways."""
        if not self.trouble:
            return now - self._troubled_since >= self._timing.grace
        return problem != self.trouble and now - self._told_at >= self._timing.ceiling
