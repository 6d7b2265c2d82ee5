"""Which families of routes a session can carry, and by which address of this node the routers reach it. Pure.

"Next hop self" is the session's own address wherever the protocol allows that. An IPv4 next hop for IPv6 routes it
never does (RFC 4760 section 3), an IPv6 next hop for IPv4 routes only if both sides said so (RFC 8950). Then it is the
address that the same interface has in the family of the route: routers on that link reach it as they reach the session.
Where there is none nothing is made up, and the routes are held back.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from announcer.model.bgp import Neighbor
from announcer.model.net import Family, IPAddress
from bgpd.wire import Offer

#: The address that the interface with this one has in another family, if any.
Sibling = Callable[[IPAddress, Family], IPAddress | None]


class Carriage(msgspec.Struct, frozen=True):
    """What one session can carry. ``negotiated``: families that both sides offered; each is to get its End-of-RIB.

    ``next_hops``: those of them that routes can be sent in. ``unusable``: the wanted ones that cannot, and why.
    """

    negotiated: tuple[Family, ...] = ()
    next_hops: dict[Family, IPAddress] = {}
    unusable: dict[Family, str] = {}


def offered(neighbor: Neighbor) -> tuple[Family, ...]:
    """The families that stand in our OPEN, in a fixed order.

    The engine offers RFC 8950 only together with IPv6 itself, so that is offered wherever IPv4 goes over IPv6.
    """
    return tuple(
        family for family in Family if family in neighbor.carried or (family is Family.IPV6 and _mixed(neighbor))
    )


def takes_ipv6_next_hop(neighbor: Neighbor) -> bool:
    """True if our OPEN offers IPv4 routes with an IPv6 next hop (RFC 8950)."""
    return _mixed(neighbor)


def _mixed(neighbor: Neighbor) -> bool:
    return Family.of(neighbor.address) is Family.IPV6 and Family.IPV4 in neighbor.carried


def agree(neighbor: Neighbor, offer: Offer, local: IPAddress | None, sibling: Sibling) -> Carriage:
    """What a session with this neighbor carries after its ``offer``. ``local``: our end of it, None if not known."""
    next_hops: dict[Family, IPAddress] = {}
    unusable: dict[Family, str] = {}
    for family in neighbor.carried:
        found = _next_hop(neighbor, family, offer, local, sibling)
        if isinstance(found, str):
            unusable[family] = found
        else:
            next_hops[family] = found
    both = tuple(family for family in offered(neighbor) if family in offer.families)
    return Carriage(negotiated=both, next_hops=next_hops, unusable=unusable)


def _next_hop(
    neighbor: Neighbor, family: Family, offer: Offer, local: IPAddress | None, sibling: Sibling
) -> IPAddress | str:
    """The next hop for routes of ``family``, or why there is none."""
    if not offer.families:
        return "the peer offers no multiprotocol capability (RFC 4760), without which the engine sends no route"
    if family not in offer.families:
        return f"the peer does not offer {family.label} unicast (RFC 4760)"
    if local is None:
        return "the address of this node's end of the session is not known"
    if Family.of(local) is family or (_mixed(neighbor) and offer.ipv6_next_hop):
        return local
    found = sibling(local, family)
    if found is None:
        also = ", and the peer does not take an IPv6 next hop (RFC 8950)" if family is Family.IPV4 else ""
        return f"there is no {family.label} next hop: the interface with {local} has no {family.label} address{also}"
    return found
