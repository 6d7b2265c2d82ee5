"""How long to wait for an API server, and how often to ask it again."""

from __future__ import annotations

import random

import msgspec
from tenacity import RetryCallState, wait_fixed, wait_random_exponential


class Trouble(Exception):
    """The API server cannot be read now, and why, in words. ``retry_after``: it asked to be left alone so long (s)."""

    def __init__(self, problem: str, *, retry_after: float = 0.0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after = retry_after


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """All times of the source, in seconds.

    ``connect``, ``answer``: until a connection stands, until an answer begins or goes on. ``quiet``: an open watch that
    says nothing for so long is dead; a server that lives sends a bookmark about every 60 s. ``watch``: for how long a
    watch is asked for, at random between both, so that the watches of a cluster do not all end together.
    ``first_wait``, ``ceiling``: back-off after a failure, random up to a limit that doubles from the first to the
    second. ``pause``: before going on after an orderly end. ``steady``: a watch that was well for so long failed for a
    new reason, and back-off begins anew. ``grace``: a trouble that is over sooner is reported to nobody. ``poll``: how
    often the other Nodes are looked at; ``poll_closely``: the same while this node is to be drained, or a twentieth of
    a second for each node if that is more (:meth:`spread`). ``disbelief``: how long a state that is older than what is
    known is refused. ``hold``: how long a new bgp-config waits for the Secrets that it names.
    """

    connect: float = 10.0
    answer: float = 30.0
    quiet: float = 90.0
    watch: tuple[float, float] = (300.0, 600.0)
    first_wait: float = 0.5
    ceiling: float = 30.0
    pause: tuple[float, float] = (0.05, 0.5)
    steady: float = 10.0
    grace: float = 3.0
    poll: float = 600.0
    poll_closely: float = 2.0
    disbelief: float = 60.0
    hold: float = 10.0

    def close_pause(self, nodes: int) -> float:
        """Between two close looks at so many nodes. All of them may look at once."""
        return max(self.poll_closely, self.spread(nodes))

    def spread(self, nodes: int) -> float:
        """Over so long a time the agents of so many nodes spread a look that something brings all of them to."""
        return nodes / 20

    def watch_seconds(self) -> int:
        """For how long to ask for the next watch."""
        return round(random.uniform(*self.watch))

    def back_off(self, state: RetryCallState) -> float:
        """The wait before the next try (for tenacity): random, so that a thousand agents do not come back at once.

        An API server that says when it wants to be asked again (429, 503 with Retry-After) gets its will, within the
        ceiling.
        """
        # A small part is fixed: a wait of nearly nothing, over and over, would be no wait.
        random_part = wait_random_exponential(multiplier=self.first_wait, max=self.ceiling)(state)
        wait = wait_fixed(self.first_wait / 10)(state) + random_part
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after if isinstance(error, Trouble) else 0.0
        return max(wait, min(asked, self.ceiling))
