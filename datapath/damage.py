"""Frontends that are there but wrong: in themselves, or because the way to a backend is no longer what it was."""

from __future__ import annotations

from collections.abc import Mapping

from announcer.model.lb import FrontendKey
from datapath import readback
from datapath.maps import Maps
from datapath.neigh import Nexthops
from datapath.readback import Held


class Damage:
    """Looks for them, and not again where nothing has changed since all was well."""

    def __init__(self, maps: Maps, nexthops: Nexthops) -> None:
        self._maps = maps
        self._nexthops = nexthops
        self._well: dict[FrontendKey, Held] = {}
        self._ways = (-1, -1)

    def find(self, frontends: Mapping[FrontendKey, Held]) -> dict[FrontendKey, str]:
        """What is wrong, by frontend; programming it again mends it. Raises ``TargetError``."""
        self._nexthops.refresh()
        ways = self._nexthops.version()
        if ways != self._ways:
            self._well, self._ways = {}, ways
        before, self._well = self._well, {}
        problems = {}
        for key, held in frontends.items():
            problem = "" if before.get(key) is held else held.problem or self._way(held)
            if problem:
                problems[key] = problem
            else:
                self._well[key] = held
        return problems

    def _way(self, held: Held) -> str:
        """Routes change under us: the outer source address and the next hop were right when they were written."""
        remote = [(backend, number) for backend, number in held.ids if not backend.local]
        routes = self._nexthops.routes(backend for backend, _ in remote)
        for backend, number in remote:
            entry, route = readback.backend_at(self._maps, number), routes[backend]
            if entry and entry[1] != (route.source if route else None):
                return f"the way to backend {backend.address} changed"
            alone = self._nexthops.unmanaged(backend) if route else None
            if alone is not None:
                return f"next hop {alone} of backend {backend.address} has no managed neighbour"
        return ""
