"""Waits, inside the ExaBGP process, for the peers that are to connect to us (``passive``), and for nobody else.

Takes the place of ExaBGP's own listener, which ends ExaBGP where a port is taken, gives a socket that several peers
share the key and the TTL of one of them after the other, and answers everybody (docs/adr/016). Here

- a socket listens at an address and a port only while a passive neighbor is to come there, and has the TCP-MD5 keys of
  all of them (RFC 2385) before it listens; where the keys change, another one takes its place;
- a peer is known by both addresses of its connection. Others are reset, and counted;
- where it is not possible to listen, it is tried again every second, and nobody else is concerned.

Imports ExaBGP, so import it after ``overlay.run_on_monotonic_time``.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import time
import uuid
from collections import Counter
from ipaddress import ip_address
from typing import Any, NamedTuple

from exabgp.logger import log
from exabgp.protocol.family import AFI
from exabgp.protocol.ip import IP
from exabgp.reactor.network.error import NetworkError
from exabgp.reactor.network.incoming import Incoming
from exabgp.reactor.network.tcp import md5, sending_ttl, set_minimum_ttl, set_sending_ttl

from announcer.model.errors import TargetError
from announcer.model.net import IPAddress
from bgpd.refusal import Cause, Refusal
from bgpd.routing import source_toward

#: How often to look whether it is possible to listen.
ARRANGE_SECONDS = 1.0
_BACKLOG = 64
#: So many connections are accepted before the sessions that are there have their turn again.
_AT_ONCE = 32
#: What the handshake is sent with: at that point nobody knows whether the peer takes less (GTSM, RFC 5082 section 3).
_HANDSHAKE_TTL = 255
# linux/tcp.h: keep the headers of a SYN for the connection that comes of it. 512 bytes hold any of them.
_TCP_SAVE_SYN, _TCP_SAVED_SYN, _SYN_BYTES = 27, 28, 512
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger


class Endpoint(NamedTuple):
    """Where peers connect to: an address of this node, and a port."""

    address: IPAddress
    port: int

    @property
    def afi(self) -> Any:
        """ExaBGP's name of the address family."""
        return AFI.ipv6 if self.address.version == 6 else AFI.ipv4


class _Listening(NamedTuple):
    """A socket that listens. ``keys``: its TCP-MD5 keys, by the peer's address."""

    socket: socket.socket
    keys: dict[str, str]


class Listener:
    """Has the methods of ``exabgp.reactor.listener.Listener`` that the reactor calls.

    None of them raises OSError: the reactor ends ExaBGP for that.
    """

    def __init__(self, reactor: Any) -> None:
        """Nothing listens before the reactor has loaded its configuration."""
        self._reactor = reactor
        self._listening: dict[Endpoint, _Listening] = {}
        self._expected: dict[tuple[Endpoint, IPAddress], str] = {}  # who comes where: its name in the reactor
        self._poll = select.poll()
        self._by_descriptor: dict[int, Endpoint] = {}
        self._refused: Counter[tuple[Cause, str]] = Counter()
        self._last_stranger = ""
        self._due = 0.0

    def close_unwanted(self, _: object) -> None:
        """The configuration was loaded. What the reactor itself would listen at is nothing."""
        self._arrange()

    def incoming(self) -> bool:
        """One turn. Returns False: nothing is left for the reactor to do."""
        if time.monotonic() >= self._due:
            self._arrange()
        if self._listening:
            for descriptor, _ in self._poll.poll(0):
                self._accept(self._by_descriptor[descriptor])
        return False

    @property
    def descriptors(self) -> list[int]:
        """Of the sockets that listen: what is read from them gives the next turn something to do."""
        return list(self._by_descriptor)

    def pause(self) -> float:
        """Seconds until a turn has something to do that no socket tells of, ``math.inf`` if nobody is to come."""
        return max(0.0, self._due - time.monotonic())

    def stop(self) -> None:
        """Listen no more."""
        for endpoint in list(self._listening):
            self._close(endpoint)

    # --- sockets that listen ------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Listen where a neighbor is to come to now: addresses and routes come and go, and so do others' listeners."""
        self._report()
        self._due = math.inf
        self._expected = {}
        keys: dict[Endpoint, dict[str, str]] = {}
        for name, neighbor in self._reactor.configuration.neighbors.items():
            if not neighbor["passive"]:
                continue
            self._due = time.monotonic() + ARRANGE_SECONDS
            endpoint = _endpoint(neighbor)
            if endpoint is None:
                continue
            peer = neighbor["peer-address"].top()
            self._expected[endpoint, ip_address(peer)] = name
            of_endpoint = keys.setdefault(endpoint, {})
            if neighbor["md5-password"]:
                of_endpoint[peer] = neighbor["md5-password"]
        for endpoint, listening in list(self._listening.items()):
            if keys.get(endpoint) != listening.keys:
                self._close(endpoint)
        for endpoint in keys.keys() - self._listening.keys():
            self._open(endpoint, keys[endpoint])

    def _open(self, endpoint: Endpoint, keys: dict[str, str]) -> None:
        """Listen there if that is possible. If not, ``bgpd.watch`` finds out why, and says it."""
        family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # earlier connections may linger
            made.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)
            set_sending_ttl(made, endpoint.afi, str(endpoint.address), _HANDSHAKE_TTL)
            for peer, key in keys.items():
                md5(made, peer, 0, key, False)
            made.bind((str(endpoint.address), endpoint.port))
            made.listen(_BACKLOG)
        except (OSError, NetworkError):
            made.close()
            return
        self._listening[endpoint] = _Listening(made, keys)
        self._by_descriptor[made.fileno()] = endpoint
        self._poll.register(made, select.POLLIN)
        log.info(lambda: f"waiting for peers at {endpoint.address} port {endpoint.port}", "network")

    def _close(self, endpoint: Endpoint) -> None:
        made = self._listening.pop(endpoint).socket
        self._poll.unregister(made)
        del self._by_descriptor[made.fileno()]
        made.close()

    # --- connections --------------------------------------------------------------------------------------------

    def _accept(self, endpoint: Endpoint) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, (address, *_) = self._listening[endpoint].socket.accept()
            except OSError:  # none is left, or it has gone again, or there is no descriptor for it now
                return
            try:
                self._receive(endpoint, ip_address(address), connection)
            except (OSError, NetworkError):
                _reset(connection)

    def _receive(self, endpoint: Endpoint, address: IPAddress, connection: socket.socket) -> None:
        """Give ``connection`` to the peer that it is of, or reset it. Raises OSError or NetworkError if it has gone."""
        peer = self._reactor._peers.get(self._expected.get((endpoint, address), ""))
        if peer is None:
            self._last_stranger = str(address)
            self._refused[Cause.STRANGER, ""] += 1
            _reset(connection)
        elif peer._teardown is not None or peer._delay.backoff():
            _reset(connection)  # RFC 4271 section 8.2.2, Idle: it refuses all incoming connections
        elif (_ttl_of_syn(connection) or _HANDSHAKE_TTL) < (peer.neighbor["incoming-ttl"] or 0):
            self._refused[Cause.LOW_TTL, str(address)] += 1
            _reset(connection)
        else:
            self._hand_over(endpoint, str(address), connection, peer)

    def _hand_over(self, endpoint: Endpoint, address: str, connection: socket.socket, peer: Any) -> None:
        neighbor = peer.neighbor
        set_minimum_ttl(connection, endpoint.afi, address, neighbor["incoming-ttl"])
        ttl = sending_ttl(neighbor["outgoing-ttl"], neighbor["incoming-ttl"])
        set_sending_ttl(connection, endpoint.afi, address, ttl)
        if neighbor.auto_discovery:
            neighbor["local-address"] = IP.create(str(endpoint.address))
        incoming = Incoming(endpoint.afi, address, str(endpoint.address), connection)
        refusal = peer.handle_connection(incoming)
        if refusal is not None:  # there is a session already (RFC 4271 section 6.8)
            self._reactor.asynchronous.schedule(str(uuid.uuid1()), "refuse a second connection", refusal)

    def _report(self) -> None:
        """Say what was refused since the last time, in a line for each cause, however many there were."""
        for (cause, address), count in self._refused.items():
            line = Refusal(cause, address or self._last_stranger, count).line()
            log.info(lambda line=line: line, "network")
        self._refused.clear()


def wait_for_passive_peers() -> None:
    """Have the reactor use :class:`Listener`. Call it before the reactor is made."""
    from exabgp.reactor import loop

    loop.Listener = Listener


def _endpoint(neighbor: Any) -> Endpoint | None:
    """Where ``neighbor`` is to come to: None while this node has no route to it, and so no address for it."""
    port = neighbor["connect"]
    if not neighbor.auto_discovery:
        return Endpoint(ip_address(neighbor["local-address"].top()), port)
    try:
        return Endpoint(source_toward(ip_address(neighbor["peer-address"].top()), port), port)
    except TargetError:
        return None


def _ttl_of_syn(connection: socket.socket) -> int | None:
    """The TTL (hop limit) of the packet that began ``connection``, None if the kernel had no room to keep it.

    What arrives before a minimum is set on the connection is not held to it, but this is.
    """
    headers = connection.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, _SYN_BYTES)
    if not headers:
        return None
    return headers[8] if headers[0] >> 4 == 4 else headers[7]


def _reset(connection: socket.socket) -> None:
    """End ``connection`` by RST: nothing of it is left here, and the other side knows at once."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        pass  # it has gone by itself, or was closed
    finally:
        connection.close()
