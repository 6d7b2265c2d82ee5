"""Learns from the kernel which UPDATEs the peers' TCP has acknowledged, and gives that to the core.

Asked only while something is on its way: at first every two milliseconds, then less often, because a peer that does
not acknowledge for a while (its delayed ACK is up to 40 ms, an unreachable one never does) is not worth a busy loop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from announcer.model.errors import TargetError
from bgpd.core import Core
from bgpd.peer import Peer
from bgpd.sockdiag import SockDiag, TcpSocket

log = logging.getLogger("lockstep.speaker")

_FIRST_SECONDS = 0.002
_LONGEST_SECONDS = 0.05


class Receipts:
    """Remembers which socket belongs to which session, nothing else."""

    def __init__(self) -> None:
        """Raises OSError if the kernel has no sock_diag."""
        self._diag = SockDiag()
        self._sockets: dict[str, tuple[Peer, int, TcpSocket]] = {}  # by neighbor name: of which session of whom
        self._delay = _FIRST_SECONDS

    def close(self) -> None:
        """Give the netlink socket back."""
        self._diag.close()

    def collect(self, core: Core, pid: int | None) -> float:
        """Ask about every peer that waits. Returns in how many seconds to ask again, infinite if nobody waits."""
        waiting = [peer for peer in core.peers.values() if peer.awaits_receipt]
        for name in self._sockets.keys() - core.peers.keys():
            del self._sockets[name]
        if pid is None or not waiting:
            self._delay = _FIRST_SECONDS
            return math.inf
        try:
            changed = self._ask(waiting, pid)
        except (OSError, TargetError) as error:
            # Nothing is said to be sent meanwhile, which is the safe side. An answer may still be on its way to the
            # old socket, and would be taken for the next one's.
            log.warning("cannot ask the kernel what peers have received: %s", error)
            self._diag.close()
            self._diag = SockDiag()
            return _LONGEST_SECONDS
        if changed:
            core.version += 1
            self._delay = _FIRST_SECONDS
            return 0.0
        self._delay = min(self._delay * 1.5, _LONGEST_SECONDS)
        return self._delay

    def _ask(self, peers: Sequence[Peer], pid: int) -> bool:
        """True if that changed anything."""
        changed = False
        for peer in peers:
            acked = self._acked(peer, pid)
            if acked is not None:
                changed |= peer.received(acked)
        return changed

    def _acked(self, peer: Peer, pid: int) -> int | None:
        """Found once per session: after the end of it, another socket to the same peer would be the next session's.

        A neighbor that was removed and is there again has a first session again, which is another one.
        """
        known = self._sockets.get(peer.neighbor.name)
        if known is not None and known[0] is peer and known[1] == peer.session:
            return self._diag.acked(known[2])
        neighbor = peer.neighbor
        found = self._diag.find(pid, neighbor.address, neighbor.port, accepted=neighbor.passive)
        if found is None:
            return None
        self._sockets[peer.neighbor.name] = (peer, peer.session, found)
        return found.acked
