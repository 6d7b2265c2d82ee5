"""The pair of hands that an agent works with."""

from __future__ import annotations

from dataclasses import dataclass

from announcer.model.hands import BgpHand, DatapathHand


@dataclass(frozen=True)
class Hands:
    """The datapath of this node and its speaker."""

    datapath: DatapathHand
    bgp: BgpHand
