"""Frontends that are there but wrong: in themselves, or because the way to a backend is no longer what it was."""

from __future__ import annotations

from collections.abc import Iterable

from announcer.model.lb import Backend, FrontendKey
from datapath import readback
from datapath.maps import Maps
from datapath.neigh import Nexthops
from datapath.readback import Contents, Held
from datapath.rtnl import Route


def find(contents: Contents, maps: Maps, nexthops: Nexthops, remote: Iterable[Backend]) -> dict[FrontendKey, str]:
    """What is wrong, by frontend; programming it again mends it. ``remote``: all backends on other nodes.

    Raises ``TargetError``.
    """
    nexthops.refresh()
    routes = nexthops.routes(remote)
    problems = ((key, held.problem or _way(held, maps, nexthops, routes)) for key, held in contents.frontends.items())
    return {key: problem for key, problem in problems if problem}


def _way(held: Held, maps: Maps, nexthops: Nexthops, routes: dict[Backend, Route | None]) -> str:
    """Routes change under us: the outer source address and the next hop were right when they were written."""
    for backend, number in held.ids:
        if backend.local:
            continue
        entry, route = readback.backend_at(maps, number), routes.get(backend)
        if entry and entry[1] != (route.source if route else None):
            return f"the way to backend {backend.address} changed"
        alone = nexthops.unmanaged(backend) if route else None
        if alone is not None:
            return f"next hop {alone} of backend {backend.address} has no managed neighbour"
    return ""
