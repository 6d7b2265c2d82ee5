"""Asks the kernel, once in a second, about every peer that has no session, and tells the peer what that means."""

from __future__ import annotations

import errno
import logging

from announcer.model.bgp import Neighbor, PeerState
from announcer.model.errors import TargetError
from bgpd.addresses import bind_error
from bgpd.core import Core, Now
from bgpd.diagnosis import from_bind, from_drops, from_nothing, from_silence
from bgpd.peer import Peer
from bgpd.routing import source_toward
from bgpd.sockdiag import SockDiag, TcpSocket, socket_inodes
from bgpd.tcpstat import Drops, read_drops

log = logging.getLogger("lockstep.speaker")

LOOK_SECONDS = 1.0
#: A peer that has been away for so long, and of which nothing is known, is said to be away.
_PATIENCE_SECONDS = 3.0


class Watch:
    """Remembers the counters, and what it said of this node's own addresses and ports, nothing else."""

    def __init__(self) -> None:
        """Raises OSError if the kernel has no sock_diag."""
        self._diag = SockDiag()
        self._before: Drops | None = None
        self._obstacles: dict[str, str] = {}  # by neighbor name

    def close(self) -> None:
        """Give the netlink socket back."""
        self._diag.close()

    def look(self, core: Core, pid: int | None, now: Now) -> None:
        """Tell every peer without a session what there is to say. ``pid``: the engine."""
        waiting = [peer for peer in core.peers.values() if not peer.established]
        if pid is None or not waiting:
            self._before = None
            return
        try:
            inodes = socket_inodes(pid)
            ports = {peer.neighbor.port for peer in waiting if not peer.neighbor.passive}
            sockets = [(port, found) for port in ports for found in self._diag.toward(port)]
            own_ports = {peer.neighbor.port for peer in waiting if peer.neighbor.passive}
            listening = {
                (found.local, port)
                for port in own_ports
                for found in self._diag.listening(port)
                if found.inode in inodes
            }
            counted = read_drops()
        except (OSError, TargetError) as error:
            log.warning("cannot ask the kernel why sessions do not come up: %s", error)
            self._diag.close()
            self._diag = SockDiag()
            return
        drops, self._before = counted.since(self._before or counted), counted
        attempts = {(found.peer, port): found for port, found in sockets if found.inode in inodes}
        if len(attempts) < len(sockets):
            # An earlier engine's connection may linger for minutes and drop whatever its peer answers: not our case.
            drops = Drops()
        for peer in waiting:
            attempt = attempts.get((peer.neighbor.address.packed, peer.neighbor.port))
            news = self._look_at_place(peer, listening, now.wall)
            if news or self._diagnose(peer, drops, attempt) or self._say_something(peer, now.monotonic):
                core.version += 1

    def _look_at_place(self, peer: Peer, listening: set[tuple[bytes, int]], wall: float) -> bool:
        """Whether this node lets a connection be: no other cause matters before it does. True if news.

        The engine tries again and again and does not say why it fails.
        """
        text = _obstacle(peer.neighbor, listening)
        moved = peer.neighbor.passive and peer.waits(wall, listens=not text)
        said = self._obstacles.pop(peer.neighbor.name, "")
        if text:
            self._obstacles[peer.neighbor.name] = text
            if peer.diagnosis == text:
                return moved
            log.info("peer %s: %s", peer.neighbor.name, text)
            peer.diagnosis = peer.last_error = text
            return True
        if not said or peer.diagnosis != said:
            return moved
        peer.diagnosis, peer.last_error = "", None
        return True

    @staticmethod
    def _diagnose(peer: Peer, drops: Drops, attempt: TcpSocket | None) -> bool:
        """The more certain stays when only the less certain is left. True if news."""
        text = from_drops(peer.neighbor, drops)
        if not text and attempt is not None and not peer.diagnosis:
            text = from_silence(peer.neighbor, attempt)
        if not text or text == peer.diagnosis:
            return False
        log.info("peer %s: %s", peer.neighbor.name, text)
        peer.diagnosis = peer.last_error = text
        return True

    @staticmethod
    def _say_something(peer: Peer, now: float) -> bool:
        """The engine does not tell of attempts that fail before they are connections."""
        if peer.last_error is not None or peer.down_since is None or now - peer.down_since < _PATIENCE_SECONDS:
            return False
        if peer.state in (PeerState.OPEN_SENT, PeerState.OPEN_CONFIRM):
            return False
        peer.last_error = from_nothing(peer.neighbor)
        return True


def _obstacle(neighbor: Neighbor, listening: set[tuple[bytes, int]]) -> str:
    """What on this node keeps ``neighbor`` from having a connection, "" if nothing does.

    ``listening``: addresses (in network order) and ports at which the engine listens.
    """
    if not neighbor.passive:
        local = neighbor.local_address
        if local is None or bind_error(local) != errno.EADDRNOTAVAIL:
            return ""
        return from_bind(neighbor, local, errno.EADDRNOTAVAIL)
    try:
        local = neighbor.local_address or source_toward(neighbor.address, neighbor.port)
    except TargetError as error:
        return f"no address of this node to wait at: {error}"
    if (local.packed, neighbor.port) in listening:
        return ""
    return from_bind(neighbor, local, bind_error(local, neighbor.port))
