"""Which node tells a cluster what every node of it sees: one, without a word between them.

A hash ring: every node has some points on a circle, and whose point comes next after that of a Service tells. All
nodes that know the same nodes agree, and when one comes or goes, only its share of the Services is told by another.
"""

from __future__ import annotations

import functools
import hashlib
from bisect import bisect

from announcer.model.objects import ObjectKey

#: Points of a node. Shares differ by a fifth or so, which is good enough for Events.
_POINTS = 32


class Ring:
    """The points of all nodes. To be asked about a Service costs the same however many nodes there are."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        """At least one node."""
        points = sorted((_place(f"{number} {node}"), node) for node in nodes for number in range(_POINTS))
        self._places = [place for place, _ in points]
        self._nodes = [node for _, node in points]

    def teller(self, key: ObjectKey) -> str:
        """The node that tells of this Service."""
        return self._nodes[bisect(self._places, _place(str(key))) % len(self._nodes)]


@functools.lru_cache(maxsize=2)
def ring_of(nodes: tuple[str, ...]) -> Ring:
    """The ring of these nodes, sorted by name. Nodes come and go seldom, and the ring is asked all the time."""
    return Ring(nodes)


def _place(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
