"""Next hops of remote backends, and the neighbour entries that keep them resolved.

``bpf_fib_lookup`` needs the link-layer address to be known; it asks nobody for it. So for every next hop there is an
externally learned, managed entry (NTF_EXT_LEARNED, NTF_EXT_MANAGED; kernel 5.16 and later): the kernel resolves it and
keeps it fresh, and the entry is marked with a protocol number, so that a later run knows whose it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from announcer.model.lb import Backend
from announcer.model.net import IPAddress
from datapath.rtnl import Route, Rtnl

#: A device and an address on its link.
Hop = tuple[int, IPAddress]


class Nexthops:
    """Routes to remote backends, and the managed neighbour entries for them."""

    def __init__(self, rtnl: Rtnl) -> None:
        self._rtnl = rtnl
        self._table = rtnl.neighbours()
        self._hops: dict[Backend, Hop] = {}

    def routes(self, backends: Iterable[Backend]) -> dict[Backend, Route | None]:
        """How the kernel would send to each of these now; None: not at all, or to itself. Raises ``TargetError``."""
        found: dict[Backend, Route | None] = {}
        for backend in backends:
            route = self._rtnl.route(backend.address)
            found[backend] = None if route is None or route.local else route
        return found

    def refresh(self) -> None:
        """Read which managed entries there are: others may have flushed them. Raises ``TargetError``."""
        self._table = self._rtnl.neighbours()

    def unmanaged(self, route: Route) -> bool:
        """True if nothing keeps this next hop resolved: no entry of ours, and none that an operator made permanent."""
        hop = (route.ifindex, route.via)
        return hop not in self._table.ours and hop not in self._table.permanent

    def use(self, routes: dict[Backend, Route | None]) -> None:
        """Have an entry for each of these next hops. Raises ``TargetError``."""
        for backend, route in routes.items():
            if route is None:
                self._hops.pop(backend, None)
                continue
            hop = self._hops[backend] = (route.ifindex, route.via)
            if self.unmanaged(route):
                self._add(hop)

    def nudge(self, backend: Backend) -> None:
        """Let the kernel try again to resolve the next hop, whatever became of its entry. Raises ``TargetError``."""
        route = self.routes([backend])[backend]
        if route:
            self.refresh()
            if (route.ifindex, route.via) not in self._table.permanent:
                self._add((route.ifindex, route.via))

    def _add(self, hop: Hop) -> None:
        self._rtnl.add_neighbour(*hop)
        self._table.ours.add(hop)

    def release(self, backends: Iterable[Backend]) -> None:
        """No longer used: remove the entries of next hops that no other backend has. Raises ``TargetError``."""
        left = {hop for backend in backends if (hop := self._hops.pop(backend, None))}
        if left:
            self._remove(left - set(self._hops.values()))

    def keep_only(self, backends: Collection[Backend]) -> None:
        """Remove all entries of ours that none of these remote backends needs. Raises ``TargetError``."""
        for backend in self._hops.keys() - set(backends):
            del self._hops[backend]
        self._remove(self._table.ours - set(self._hops.values()))

    def _remove(self, hops: Iterable[Hop]) -> None:
        for hop in list(hops):
            self._rtnl.remove_neighbour(*hop)
            self._table.ours.discard(hop)
