"""The figures of each peer that metrics give: one computation, under whatever names they are shown."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from announcer.model.bgp import Neighbor, PeerState
from announcer.status.sight import Sight


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One peer. ``announced``: prefixes sent in the present session. ``pending``: changes that were not sent yet.

    ``bfd_up`` None: it has no BFD.
    """

    name: str
    neighbor: Neighbor
    up: bool
    announced: int
    pending: int
    updates: int
    bfd_up: bool | None

    @property
    def endpoint(self) -> str:
        """``ADDRESS:PORT``, as MetalLB names a peer."""
        address = self.neighbor.address
        return f"[{address}]:{self.neighbor.port}" if address.version == 6 else f"{address}:{self.neighbor.port}"


def peer_figures(sight: Sight) -> Iterator[PeerFigures]:
    """Of every peer that is wanted, or that the speaker still runs."""
    for name in sorted(sight.desired.neighbors.keys() | sight.observed.bgp.peers.keys()):
        peer = sight.observed.bgp.peers.get(name)
        wanted = sight.desired.neighbors.get(name)
        neighbor = wanted if wanted is not None else peer.neighbor if peer is not None else None
        if neighbor is None:
            continue
        established = peer is not None and peer.state is PeerState.ESTABLISHED
        entries = peer.rib if peer is not None else {}
        sent = {nlri: True for nlri, entry in entries.items() if entry.sent and not entry.withdrawing}
        routes = sight.desired.rib.get(name, {})
        yield PeerFigures(
            name=name,
            neighbor=neighbor,
            up=established,
            announced=sum(entry.held for entry in entries.values()) if established else 0,
            pending=len(sent.keys() ^ routes.keys()),
            updates=peer.updates_sent if peer is not None else 0,
            bfd_up=None if neighbor.bfd is None else peer is not None and peer.bfd == "up",
        )
