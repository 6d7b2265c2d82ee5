"""Next hops of remote backends, and the neighbour entries that keep them resolved.

``bpf_fib_lookup`` needs the link-layer address to be known; it asks nobody for it. So for every next hop there is an
externally learned, managed entry (NTF_EXT_LEARNED, NTF_EXT_MANAGED; kernel 5.16 and later): the kernel resolves it and
keeps it fresh, and the entry is marked with a protocol number, so that a later run knows whose it is. A kernel that
cannot manage entries is asked to look after them every few seconds instead.

A route may have several next hops. All of them get an entry, and the kernel leaves out those that do not answer
(:func:`skip_failed_hops`).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from announcer.model.lb import Backend
from announcer.model.net import IPAddress
from datapath.notices import Notices
from datapath.parts import Parts
from datapath.routes import Hop
from datapath.rtnl import Route, Rtnl

log = logging.getLogger(__name__)

#: As often as a kernel that can do it by itself does (``interval_probe_time_ms``), in seconds.
NUDGE_SECONDS = 5.0
_USE_NEIGH = Path("/proc/sys/net/ipv4/fib_multipath_use_neigh")


#: After so many questions about single addresses it pays to read all routes.
_MANY = 256
_NO_HOPS = frozenset[Hop]()


class _Way(NamedTuple):
    """What all addresses of a part of the address space have in common."""

    route: Route | None
    hops: frozenset[Hop]


def skip_failed_hops() -> None:
    """Have IPv4 route lookups skip next hops that are known not to answer; IPv6 does so by itself.

    ``fib_multipath_use_neigh`` in Documentation/networking/ip-sysctl.rst. Not being allowed to is said and borne: it
    matters only to routes with several next hops.
    """
    try:
        if _USE_NEIGH.read_text().strip() == "0":
            _USE_NEIGH.write_text("1\n")
    except OSError as error:
        log.warning("routes with several next hops may use one that fails", extra={"problem": f"{_USE_NEIGH}: {error}"})


class Nexthops:
    """Routes to remote backends, and the managed neighbour entries for them."""

    def __init__(
        self,
        rtnl: Rtnl,
        notices: Notices,
        clock: Callable[[], float] = time.monotonic,
        *,
        managed: bool = True,
    ) -> None:
        """``managed`` False: as on a kernel that cannot."""
        self._rtnl = rtnl
        self._notices = notices
        self._clock = clock
        self._can_manage = managed
        self._table = rtnl.neighbours()
        self._hops: dict[Backend, frozenset[Hop]] = {}
        self._users: Counter[Hop] = Counter()
        self._routes: dict[IPAddress, Route | None] = {}
        self._hops_to: dict[IPAddress, frozenset[Hop]] = {}
        self._ways: dict[tuple[int, int], _Way | None] = {}
        self._parts: Parts | None = None
        self._asked = 0
        self._generation = -1
        self._readings = 0
        self._nudge_at = 0.0

    def routes(self, backends: Iterable[Backend]) -> dict[Backend, Route | None]:
        """How the kernel would send to each of these now; None: not at all, or to itself. Raises ``TargetError``."""
        generation = self._notices.generation()
        if generation != self._generation:
            self._routes.clear()
            self._hops_to.clear()
            self._ways.clear()
            self._parts, self._asked = None, 0
            self._generation = generation
        asked = list(backends)
        parts = self._known_parts()
        if parts and asked:
            # Endpoints of one Service mostly lie in one part; to ask for it once is quicker than for each of them.
            part = parts.of_all([backend.sent_to for backend in asked])
            way = self._way_in(part, asked[0].sent_to) if part else None
            if way is not None:
                return dict.fromkeys(asked, way.route)
        return {backend: self._route_to(backend.sent_to) for backend in asked}

    def _route_to(self, address: IPAddress) -> Route | None:
        way = self._shared_way(address)
        if way is not None:
            return way.route
        if address not in self._routes:
            self._asked += 1
            route = self._rtnl.route(address)
            self._routes[address] = None if route is None or route.local else route
        return self._routes[address]

    def _shared_way(self, address: IPAddress) -> _Way | None:
        """What the kernel said of another address that its tables cannot tell from this one; None: ask it."""
        parts = self._known_parts()
        return self._way_in(parts.of(address), address) if parts else None

    def _known_parts(self) -> Parts | None:
        """None: so few are asked about that nobody has looked what they are."""
        if self._parts is None and self._asked >= _MANY:
            self._parts = self._rtnl.parts()
        return self._parts

    def _way_in(self, part: tuple[int, int], address: IPAddress) -> _Way | None:
        """``address``: one that lies in it."""
        if part not in self._ways:
            route, hops = self._rtnl.route(address), self._rtnl.hops(address)
            # A route over several hops takes one by the address, and on a link the address is the next hop itself.
            alike = route is not None and not route.local and len(hops) == 1 and route.via != address
            self._ways[part] = _Way(route, hops) if alike else None
        return self._ways[part]

    def refresh(self) -> None:
        """Read which managed entries there are: others may have flushed them. Raises ``TargetError``."""
        table = self._rtnl.neighbours()
        self._readings += table != self._table
        self._table = table
        if not self._can_manage and self._clock() >= self._nudge_at:
            self._nudge_at = self._clock() + NUDGE_SECONDS
            for ifindex, address in self._table.ours | self._table.unmanaged:
                self._rtnl.nudge_neighbour(ifindex, address)

    def version(self) -> tuple[int, int]:
        """Another one when routes have changed, or somebody else the neighbours, so that any way may be another."""
        return self._notices.generation(), self._readings

    def unmanaged(self, routes: dict[Backend, Route | None]) -> tuple[Backend, IPAddress] | None:
        """A next hop on one of these routes that nothing keeps resolved: no entry of ours, and none that somebody else
        looks after."""
        ways = {id(route): (backend, route) for backend, route in routes.items()}  # each once
        for backend, route in ways.values():
            for hop in sorted(self._hops_of(backend), key=str) if route else ():
                if not self._is_kept(hop):
                    return backend, hop[1]
        return None

    def _hops_of(self, backend: Backend) -> frozenset[Hop]:
        way = self._shared_way(backend.sent_to)
        if way is not None:
            return way.hops
        found = self._hops_to.get(backend.sent_to)
        if found is None:
            found = self._hops_to[backend.sent_to] = self._rtnl.hops(backend.sent_to)
        return found

    def _is_kept(self, hop: Hop) -> bool:
        kept = hop in self._table.ours or hop in self._table.others
        return kept or (not self._can_manage and hop in self._table.unmanaged)

    def use(self, routes: dict[Backend, Route | None]) -> None:
        """Have an entry for each next hop on these routes, and none for those that they no longer have.

        Raises ``TargetError``.
        """
        alike: dict[int, list[Backend]] = {}  # who has the same object has the same way
        for backend, route in routes.items():
            alike.setdefault(id(route), []).append(backend)
        idle: set[Hop] = set()
        for backends in alike.values():
            hops = _NO_HOPS if routes[backends[0]] is None else self._hops_of(backends[0])
            idle |= self._note(backends, hops)
            for hop in hops:
                if not self._is_kept(hop):
                    self._add(hop)
        self._remove(idle - self._users.keys())

    def nudge(self, backend: Backend) -> None:
        """Let the kernel try again to resolve the next hops, whatever their entries say. Raises ``TargetError``."""
        if self.routes([backend])[backend]:
            self.refresh()
            for hop in self._hops_of(backend) - self._table.others:
                self._add(hop)

    def _add(self, hop: Hop) -> None:
        if self._can_manage:
            self._rtnl.add_neighbour(*hop)
            # One entry tells of all.
            self._can_manage = bool(self._table.ours) or self._rtnl.is_managed(*hop)
            if not self._can_manage:
                log.warning("the kernel cannot manage neighbours; they are looked after from here")
        if self._can_manage:
            self._table.ours.add(hop)
        else:
            self._rtnl.nudge_neighbour(*hop)
            self._table.unmanaged.add(hop)

    def release(self, backends: Iterable[Backend]) -> None:
        """No longer used: remove the entries of next hops that no other backend has. Raises ``TargetError``."""
        gone = set(backends)
        idle = self._note(gone, _NO_HOPS)
        for backend in gone:
            self._routes.pop(backend.sent_to, None)
            self._hops_to.pop(backend.sent_to, None)
        self._remove(idle)

    def keep_only(self, backends: Collection[Backend]) -> None:
        """Remove all entries of ours that none of these remote backends needs. Raises ``TargetError``."""
        self._note(self._hops.keys() - set(backends), _NO_HOPS)
        self._remove((self._table.ours | self._table.unmanaged) - self._users.keys())

    def _note(self, backends: Collection[Backend], hops: frozenset[Hop]) -> set[Hop]:
        """These are the next hops of all of them from now on, none: they are not used. Returns those without users."""
        before = Counter(map(self._hops.get, backends))
        if hops:
            self._hops.update(dict.fromkeys(backends, hops))
        else:
            for backend in backends:
                self._hops.pop(backend, None)
        for hop in hops:
            self._users[hop] += len(backends)
        idle = set()
        for earlier, count in before.items():
            for hop in earlier or _NO_HOPS:
                self._users[hop] -= count
                if not self._users[hop]:
                    del self._users[hop]
                    idle.add(hop)
        return idle

    def _remove(self, hops: Iterable[Hop]) -> None:
        for hop in list(hops):
            if hop not in self._table.others:
                self._rtnl.remove_neighbour(*hop)
                self._table.ours.discard(hop)
                self._table.unmanaged.discard(hop)
