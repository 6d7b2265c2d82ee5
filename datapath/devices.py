"""Which devices traffic for the VIPs can arrive on, found by routes unless they are listed.

A device counts if any routing table has a route to something global by it, unless it is one on which packets from
outside do not arrive first:

- ports of bonds, teams and bridges: the program belongs on the device above them, where the addresses are;
- bridges themselves, tunnels and virtual devices, whose routes lead to Pods and other nodes;
- veth, macvlan and ipvlan devices, except those of a default route: most lead to a Pod, but that one is the uplink of a
  node that is itself a container.

Devices by which the peers are reached always count, whatever they are: what peers are told, they send there. Without
these, and those of the default routes, the node serves nothing; the others come in addition (several uplinks, VRFs).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from announcer.model.net import IPAddress
from datapath.notices import Notices
from datapath.rtnl import Link, Rtnl

_LOOPBACK = 1
#: Kinds (IFLA_INFO_KIND) that lead outside whenever they have a route; a network card has none.
_OUTSIDE = frozenset({"", "bond", "team", "vlan"})
#: Kinds that lead outside only as the way of a default route.
_UPLINK = frozenset({"veth", "macvlan", "ipvlan"})
#: A device above these ports gets their packets.
_PORTS = frozenset({"bond", "team", "bridge", "openvswitch"})
#: Looking through so many routes that it takes longer than this (seconds) may take that share of the time.
_QUICK, _SHARE = 0.02, 0.05


class Wanted(NamedTuple):
    """A device that should carry the programs. ``needed``: without it VIPs cannot be served."""

    ifindex: int
    needed: bool


def leads_outside(link: Link, *, default: bool) -> bool:
    """Whether packets from outside can arrive on a device that has a route; ``default``: a default route."""
    if not link.ethernet or link.ifindex == _LOOPBACK or link.port_of in _PORTS:
        return False
    return link.kind in _OUTSIDE or (default and link.kind in _UPLINK)


class Detector:
    """Finds the devices, and remembers them until the kernel says that something has changed."""

    def __init__(
        self,
        rtnl: Rtnl,
        notices: Notices,
        listed: Sequence[str] | None,
        clock: Callable[[], float] = time.monotonic,
        effort: Callable[[], float] = time.thread_time,
    ) -> None:
        """``listed`` None: by routes. ``effort``: seconds that this thread has computed."""
        self._rtnl = rtnl
        self._notices = notices
        self._listed = listed
        self._clock = clock
        self._effort = effort
        self._generation = -1
        self._toward: tuple[IPAddress, ...] = ()
        self._found: dict[str, Wanted] = {}
        self._rest_until = 0.0

    def wanted(self, toward: Sequence[IPAddress]) -> dict[str, Wanted]:
        """By name; an ifindex of 0 is a listed device that does not exist. Raises ``TargetError``.

        ``toward``: addresses of the peers.
        """
        if self._listed is not None:
            return {name: Wanted(_index(name), True) for name in self._listed}
        generation = self._notices.generation()
        same = tuple(toward) == self._toward
        if same and (generation == self._generation or self._clock() < self._rest_until):
            return self._found
        start = self._effort()
        self._found = self._look(toward)
        self._toward, self._generation = tuple(toward), generation
        took = self._effort() - start
        self._rest_until = self._clock() + took / _SHARE if took > _QUICK else 0.0
        return self._found

    def _look(self, toward: Sequence[IPAddress]) -> dict[str, Wanted]:
        reach = self._rtnl.reach()
        needed = set(reach.default)
        peers: set[int] = set()
        for address in toward:
            route = self._rtnl.route(address)
            if route and not route.local:
                peers.add(route.ifindex)
        found: dict[str, Wanted] = {}
        for ifindex in sorted((reach.anywhere | peers) - {0, _LOOPBACK}):
            link = self._rtnl.link(ifindex)
            if link is None:
                continue  # went away since
            if ifindex in peers or leads_outside(link, default=ifindex in needed):
                found[link.name] = Wanted(ifindex, ifindex in peers or ifindex in needed)
        return found


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
