"""What a change of the configuration would do: the difference of two decisions. Pure.

It compares what ``decide`` makes of the same objects with the old and with the new configuration, which is exactly what
the agent will act upon. So its word is what happens.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.bgp import Neighbor
from announcer.model.desired import Desired, DesiredRoute
from announcer.model.net import IPAddress, IPNetwork


class Change(StrEnum):
    """What becomes of a thing."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class SessionChange(msgspec.Struct, frozen=True, kw_only=True):
    """A session that starts, ends, or is reset; ``fields``: what of the neighbor differs. Others are not touched."""

    peer: str
    change: Change
    fields: tuple[str, ...] = ()


class RouteChange(msgspec.Struct, frozen=True, kw_only=True):
    """A route towards one peer that appears, disappears, or gets other attributes."""

    peer: str
    prefix: IPNetwork
    change: Change
    fields: tuple[str, ...] = ()


class VipChange(msgspec.Struct, frozen=True, kw_only=True):
    """A VIP that appears, disappears, or is announced no longer or again; the reason as after the change."""

    vip: IPAddress
    services: tuple[str, ...]
    change: Change
    reason: str = ""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that would change. ``kept_sessions``: sessions that go on undisturbed."""

    sessions: tuple[SessionChange, ...] = ()
    kept_sessions: tuple[str, ...] = ()
    routes: tuple[RouteChange, ...] = ()
    vips: tuple[VipChange, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing would change."""
        return not (self.sessions or self.routes or self.vips)


def preview(before: Desired, after: Desired) -> Preview:
    """The way from ``before`` to ``after``, in the order of names and prefixes."""
    kept = [
        name
        for name, neighbor in before.neighbors.items()
        if (now := after.neighbors.get(name)) is not None and neighbor.same_session(now)
    ]
    return Preview(
        sessions=tuple(_sessions(before.neighbors, after.neighbors)),
        kept_sessions=tuple(sorted(kept)),
        routes=tuple(_routes(before.rib, after.rib)),
        vips=tuple(_vips(before, after)),
    )


def _sessions(before: dict[str, Neighbor], after: dict[str, Neighbor]) -> list[SessionChange]:
    found: list[SessionChange] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        change = _change(old, new)
        if change is not None and not (old and new and old.same_session(new)):
            found.append(SessionChange(peer=name, change=change, fields=_fields(old, new)))
    return found


def _routes(
    before: dict[str, dict[IPNetwork, DesiredRoute]], after: dict[str, dict[IPNetwork, DesiredRoute]]
) -> list[RouteChange]:
    found: list[RouteChange] = []
    for peer in sorted(before.keys() | after.keys()):
        old, new = before.get(peer, {}), after.get(peer, {})
        for prefix in sorted(old.keys() | new.keys(), key=lambda nlri: (nlri.version, nlri)):
            one = old[prefix].route if prefix in old else None
            other = new[prefix].route if prefix in new else None
            change = _change(one, other)
            if change is not None:
                found.append(RouteChange(peer=peer, prefix=prefix, change=change, fields=_fields(one, other)))
    return found


def _vips(before: Desired, after: Desired) -> list[VipChange]:
    """A VIP counts as there if this node may announce it."""
    found: list[VipChange] = []
    for vip in sorted(before.vips.keys() | after.vips.keys(), key=lambda vip: (vip.version, vip)):
        old, new = before.vips.get(vip), after.vips.get(vip)
        was, will = (decision is not None and decision.reason is None for decision in (old, new))
        if was == will:
            continue
        known = new or old
        assert known is not None
        services = tuple(map(str, known.services))
        change = Change.ADDED if will else Change.REMOVED
        found.append(VipChange(vip=vip, services=services, change=change, reason=_reason(after, vip)))
    return found


def _reason(after: Desired, vip: IPAddress) -> str:
    decision = after.vips.get(vip)
    if decision is not None:
        return decision.reason or ""
    claims = [service.reason for service in after.services.values() if vip in service.vips and service.reason]
    return claims[0] if claims else "noIPAllocated"


def _change(old: object, new: object) -> Change | None:
    if old == new:
        return None
    if old is None:
        return Change.ADDED
    return Change.REMOVED if new is None else Change.CHANGED


def _fields(old: msgspec.Struct | None, new: msgspec.Struct | None) -> tuple[str, ...]:
    """Names of the fields that differ, of two values of one type."""
    if old is None or new is None:
        return ()
    return tuple(name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name))
