"""``/v1/routes``: the Adj-RIB-Out of every peer: what is desired, what the engine has taken, what was sent."""

from __future__ import annotations

from typing import Any

from announcer.model.bgp import RibEntry
from announcer.model.desired import DesiredRoute
from announcer.model.net import IPNetwork
from announcer.status.explain import attributes
from announcer.status.pieces import Work, each, one_by_one
from announcer.status.sight import Sight

SCHEMA = "lockstep.routes/v1"


def routes(sight: Sight) -> Work[dict[str, Any]]:
    """All routes, by peer and prefix, those that are on their way out included."""
    names = sorted(sight.desired.rib.keys() | sight.observed.bgp.peers.keys())
    return {"schema": SCHEMA, "peers": (yield from one_by_one(_peer(sight, name) for name in names))}


def _peer(sight: Sight, name: str) -> Work[dict[str, Any]]:
    peer = sight.observed.bgp.peers.get(name)
    wishes = sight.desired.rib.get(name, {})
    entries = peer.rib if peer is not None else {}
    prefixes = sorted({*wishes, *entries}, key=_by_number)
    yield
    rows = yield from each(prefixes, lambda nlri: _route(str(nlri), wishes.get(nlri), entries.get(nlri)))
    return {"peer": name, "state": peer.state if peer is not None else None, "routes": rows}


def _by_number(nlri: IPNetwork) -> tuple[int, int, int]:
    """Sorts prefixes as they sort themselves, and faster."""
    return nlri.version, int(nlri.network_address), nlri.prefixlen


def _route(prefix: str, wish: DesiredRoute | None, entry: RibEntry | None) -> dict[str, Any]:
    route = wish.route if wish is not None else entry.route if entry is not None else None
    present = entry is not None and not entry.withdrawing
    about = attributes(route) if route is not None else None
    if about is not None and entry is not None and entry.next_hop is not None:
        about["next_hop"] = str(entry.next_hop)  # what "self" turned out to be in this session
    return {
        "prefix": prefix,
        "attributes": about,
        "vips": [str(vip) for vip in wish.vips] if wish is not None else [],
        "desired": wish is not None,
        "acknowledged": present and entry is not None and entry.acknowledged,
        "sent": present and entry is not None and entry.sent,
        "withdrawing": entry is not None and entry.withdrawing,
    }
