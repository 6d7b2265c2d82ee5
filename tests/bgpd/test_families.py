"""What a session carries after both OPENs, and by which next hop."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from announcer.model.bgp import Neighbor
from announcer.model.net import Family, IPAddress
from bgpd.families import agree, offered, takes_ipv6_next_hop
from bgpd.wire import Offer

V4, V6 = Family.IPV4, Family.IPV6
BOTH = frozenset({V4, V6})
NODE = {V4: ip_address("10.0.0.2"), V6: ip_address("2001:db8::2")}


def neighbor(over: Family, *families: Family) -> Neighbor:
    address = ip_address("10.0.0.1" if over is V4 else "2001:db8::1")
    return Neighbor(name="r", address=address, peer_asn=1, local_asn=2, families=families)


def both(_: IPAddress, family: Family) -> IPAddress | None:
    return NODE[family]


def none(_: IPAddress, __: Family) -> IPAddress | None:
    return None


@pytest.mark.parametrize(
    ("over", "families", "stand_in_the_open", "rfc8950"),
    [
        (V4, (), (V4,), False),
        (V6, (), (V6,), False),
        (V4, (V6,), (V6,), False),
        (V4, (V4, V6), (V4, V6), False),
        (V6, (V4,), (V4, V6), True),
        (V6, (V4, V6), (V4, V6), True),
    ],
)
def test_what_is_offered(
    over: Family, families: tuple[Family, ...], stand_in_the_open: tuple[Family, ...], rfc8950: bool
) -> None:
    """The engine leaves the offer of RFC 8950 out unless IPv6 itself is offered."""
    assert offered(neighbor(over, *families)) == stand_in_the_open
    assert takes_ipv6_next_hop(neighbor(over, *families)) is rfc8950


@pytest.mark.parametrize("over", [V4, V6])
def test_by_default_a_session_carries_its_own_family_by_its_own_address(over: Family) -> None:
    found = agree(neighbor(over), Offer(BOTH, ipv6_next_hop=True), NODE[over], none)
    assert (found.next_hops, found.unusable, found.negotiated) == ({over: NODE[over]}, {}, (over,))


def test_the_other_family_goes_by_the_address_of_the_same_interface() -> None:
    for over in Family:
        assert agree(neighbor(over, V4, V6), Offer(BOTH), NODE[over], both).next_hops == NODE


def test_ipv4_goes_by_the_address_of_an_ipv6_session_if_both_sides_say_so() -> None:
    found = agree(neighbor(V6, V4, V6), Offer(BOTH, ipv6_next_hop=True), NODE[V6], both)
    assert found.next_hops == {V4: NODE[V6], V6: NODE[V6]}
    # Over IPv4 it is not ours to use: the session's address is the next hop that everybody understands.
    assert agree(neighbor(V4, V4, V6), Offer(BOTH, ipv6_next_hop=True), NODE[V4], both).next_hops == NODE


@pytest.mark.parametrize(
    ("over", "offer", "local", "family", "words"),
    [
        (V4, Offer(frozenset({V4})), NODE[V4], V6, "does not offer IPv6 unicast"),
        (V6, Offer(frozenset({V6})), NODE[V6], V4, "does not offer IPv4 unicast"),
        (V4, Offer(BOTH), NODE[V4], V6, "interface with 10.0.0.2 has no IPv6 address"),
        (V6, Offer(BOTH), NODE[V6], V4, "no IPv4 address, and the peer does not take an IPv6 next hop"),
        (V4, Offer(), NODE[V4], V6, "no multiprotocol capability"),
        (V4, Offer(BOTH), None, V6, "not known"),
    ],
)
def test_what_cannot_be_carried_is_said(
    over: Family, offer: Offer, local: IPAddress | None, family: Family, words: str
) -> None:
    found = agree(neighbor(over, V4, V6), offer, local, none)
    assert words in found.unusable[family]
    assert family not in found.next_hops
    assert set(found.next_hops) | set(found.unusable) == {V4, V6}


def test_end_of_rib_is_due_for_all_that_both_offered() -> None:
    """Also for what cannot be sent: a router that waits for it holds stale routes of that family."""
    assert agree(neighbor(V4, V4, V6), Offer(BOTH), NODE[V4], none).negotiated == (V4, V6)
    assert agree(neighbor(V6, V4), Offer(BOTH), NODE[V6], both).negotiated == (V4, V6)
    assert agree(neighbor(V4, V4, V6), Offer(frozenset({V6})), NODE[V4], both).negotiated == (V6,)
