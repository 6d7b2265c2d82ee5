"""Frontends that are there but wrong: in themselves, or because the way to a backend is no longer what it was."""

from __future__ import annotations

from announcer.model.lb import FrontendKey
from datapath import encode, readback
from datapath.maps import Maps
from datapath.neigh import Nexthops
from datapath.readback import Held
from datapath.tables import Tables


class Damage:
    """Looks for them, and not again where nothing has changed since all was well."""

    def __init__(self, maps: Maps, nexthops: Nexthops, tables: Tables) -> None:
        self._maps = maps
        self._nexthops = nexthops
        self._frontends = tables.frontends
        self._changed = tables.follow()
        self._found: dict[FrontendKey, str] = {}
        self._ways = (-1, -1)

    def find(self) -> dict[FrontendKey, str]:
        """What is wrong, by frontend; programming it again mends it. The same object while that stays the same.

        Raises ``TargetError``.
        """
        self._nexthops.refresh()
        ways = self._nexthops.version()
        if ways != self._ways:
            self._changed.update(self._frontends)
            self._ways = ways
        found = {}
        for key in self._changed | self._found.keys():
            held = self._frontends.get(key)
            problem = "" if held is None else held.problem or self._way(held)
            if problem:
                found[key] = problem
        self._changed.clear()
        if found != self._found:
            self._found = found
        return self._found

    def _way(self, held: Held) -> str:
        """Routes change under us: the outer source address and the next hop were right when they were written."""
        remote = [(backend, number) for backend, number in held.ids if not backend.local]
        routes = self._nexthops.routes(backend for backend, _ in remote)
        sources = {id(route): encode.source_bytes(route.source if route else None) for route in routes.values()}
        for backend, number in remote:
            if readback.source_at(self._maps, number) != sources[id(routes[backend])]:
                return f"the way to backend {backend.address} changed"
        alone = self._nexthops.unmanaged(routes)
        return f"next hop {alone[1]} of backend {alone[0].address} has no managed neighbour" if alone else ""
