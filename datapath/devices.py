"""Which devices traffic for the VIPs can arrive on."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from announcer.model.net import IPAddress
from datapath.rtnl import Rtnl

_LOOPBACK = 1


def wanted(rtnl: Rtnl, devices: Sequence[str] | None, toward: Sequence[IPAddress]) -> dict[str, int]:
    """Name to ifindex, 0 for a listed device that does not exist.

    ``devices`` None: those of the default routes, and those by which the kernel reaches the addresses of ``toward``
    (the peers: what they are told, they send here). The loopback device never counts. Raises ``TargetError``.
    """
    if devices is not None:
        return {name: _index(name) for name in devices}
    found = rtnl.default_devices()
    for address in toward:
        route = rtnl.route(address)
        if route and not route.local:
            found.add(route.ifindex)
    return {name: ifindex for ifindex in sorted(found - {_LOOPBACK}) if (name := _name(ifindex))}


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _name(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""  # went away since
