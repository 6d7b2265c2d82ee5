"""Connections that were refused where peers are waited for, as the ExaBGP process tells the speaker of them.

The listener in there has no way to the speaker but ExaBGP's log: a line that one side writes and the other reads.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple, Self

_LINE = re.compile(r"refused: (?P<cause>[a-z-]+), (?P<times>[0-9]+) times, last from (?P<address>[0-9a-f.:]+)")


class Cause(StrEnum):
    """Why. ``LOW_TTL``: of a peer, but its packets come with a lower TTL than GTSM takes (RFC 5082)."""

    STRANGER = "stranger"
    LOW_TTL = "low-ttl"


class Refusal(NamedTuple):
    """``times``: connections for one cause; ``address``: where the last of them came from."""

    cause: Cause
    address: str
    times: int

    def line(self) -> str:
        """As it stands in the log."""
        return f"refused: {self.cause}, {self.times} times, last from {self.address}"

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """What ``line`` says; None if it is another one."""
        found = _LINE.fullmatch(line)
        if found is None or found["cause"] not in set(Cause):
            return None
        return cls(Cause(found["cause"]), found["address"], int(found["times"]))
