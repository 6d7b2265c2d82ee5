"""What a BIRD, an FRR and a GoBGP hold is what the speaker says, field by field.

eBGP and iBGP, 2- and 4-byte ASNs, both families over either, with the next hops that this gives; TCP-MD5 and GTSM in
some of them, so that each is seen with each router and each family of addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from announcer.model import net as model
from announcer.model.bgp import Origin, Password, PeerObserved
from announcer.model.steps import Announce, Withdraw
from tests.bgpd.interop import Interop, interop, neighbor, path_of, route
from tests.lab import Lab, RibPath, until
from tests.lab.plan import Family

pytestmark = [pytest.mark.root, pytest.mark.lab]

WIDE_ASN, WIDE_ROUTER_ASN = 4200000001, 4200000002
BOTH: tuple[Family, ...] = ("ipv4", "ipv6")
SECRET = "p&ss#word;{}"

ROUTES = [
    route("203.0.113.1/32"),
    route("203.0.113.2/32", communities=((64512, 7), (65535, 0), (65535, 65281))),
    route("203.0.113.3/32", large_communities=((64512, 0, 4294967295), (4294967295, 1, 2))),
    route("203.0.113.4/32", med=0),
    route("203.0.113.5/32", med=4294967295),
    route("203.0.113.6/32", prepend=3),
    route("203.0.113.7/32", local_pref=250, origin=Origin.INCOMPLETE),
    route("203.0.113.8/32", local_pref=0),
    route("10.244.7.0/24", med=10, prepend=1, local_pref=7, communities=((1, 1),), large_communities=((1, 2, 3),)),
    route("2001:db8:244:7::/64"),
    route("2001:db8:203::1/128", med=7, prepend=2, local_pref=9, communities=((64512, 7), (65535, 65281))),
    route("2001:db8:203::/48", large_communities=((64512, 0, 4294967295), (4294967295, 1, 2))),
    route("203.0.113.9/32", med=10, prepend=1, local_pref=7, communities=((1, 1),), large_communities=((1, 2, 3),)),
]


@pytest.fixture(scope="module", params=["bird", "frr", "gobgp"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(request.param, nodes=1, pods=1) as made:
        yield made


def expected(made: Interop, peer: PeerObserved) -> dict[str, RibPath]:
    return {str(nlri): path_of(peer, entry, made.local) for nlri, entry in peer.rib.items()}


def held(made: Interop, peer: PeerObserved) -> dict[str, RibPath]:
    """What the router has, one path for each prefix; its own LOCAL_PREF on eBGP is not ours to compare."""
    found = {}
    for prefix, (path,) in made.router.rib().items():
        found[prefix] = path if peer.neighbor.internal else msgspec.structs.replace(path, local_pref=None)
    return found


class Case(NamedTuple):
    """One session; ``extended``: the router takes IPv4 routes with an IPv6 next hop."""

    asn: int
    router_asn: int
    transport: Family = "ipv4"
    families: tuple[Family, ...] = BOTH
    extended: bool = False
    password: str | None = None


@pytest.mark.parametrize(
    "case",
    [
        Case(64512, 64600, families=("ipv4",)),
        Case(64512, 64512, password=SECRET),
        Case(WIDE_ASN, WIDE_ROUTER_ASN, "ipv6", password=SECRET),
        Case(WIDE_ASN, 64600),
        Case(WIDE_ASN, WIDE_ASN, "ipv6", extended=True),
        Case(64512, 64600, "ipv6", families=("ipv6",)),
    ],
    ids=["ebgp", "ibgp-md5", "ebgp-wide-over-ipv6-md5", "ebgp-mixed", "ibgp-wide-over-ipv6-rfc8950", "ipv6-alone"],
)
def test_the_router_holds_what_the_speaker_says(lab: Lab, case: Case) -> None:
    options: dict[str, Any] = {"transport": case.transport, "families": case.families, "password": case.password}
    routes = [r for r in ROUTES if f"ipv{r.nlri.version}" in case.families]
    with interop(lab, asn=case.asn, router_asn=case.router_asn, ipv6_next_hop=case.extended, **options) as made:
        made.configure(
            neighbor(
                lab, asn=case.asn, router_asn=case.router_asn, transport=case.transport,
                families=tuple(map(model.Family, case.families)), password=case.password and Password(case.password),
            )
        )  # fmt: skip
        assert made.wait_established().last_error is None
        made.apply(*(Announce(lane=str(r.nlri), peer="r", route=r) for r in routes))
        peer = made.wait(lambda p: len(p.rib) == len(routes) and all(e.sent for e in p.rib.values()), "all is sent")
        assert [peer.rib[r.nlri].route for r in routes] == routes
        node = made.lab.nodes[0]
        over_ipv6 = case.transport == "ipv6" and (case.extended or made.lab.kind == "gobgp")
        for nlri, entry in peer.rib.items():
            assert str(entry.next_hop) == (node.address if nlri.version == 4 and not over_ipv6 else node.address6)
        until(lambda: len(made.router.rib()) == len(routes), "the router has all routes")
        assert held(made, peer) == expected(made, peer)

        # Attributes come, change and go: each time one UPDATE that replaces the route, and no withdrawal.
        before = peer.updates_sent
        changed = [
            msgspec.structs.replace(routes[0], med=3, prepend=1, large_communities=((9, 9, 9),)),
            msgspec.structs.replace(routes[1], communities=()),
            msgspec.structs.replace(routes[-1], prepend=0, med=0),
        ]
        for replacement in changed:
            made.apply(Announce(lane="x", peer="r", route=replacement))
            made.wait(lambda p, r=replacement: p.rib[r.nlri].route == r and p.rib[r.nlri].sent, "it is sent")  # type: ignore[misc]
        peer = made.peer()
        assert peer.updates_sent == before + len(changed)
        until(lambda: held(made, peer) == expected(made, peer), "the router has the new attributes")

        made.apply(*(Withdraw(lane=str(r.nlri), peer="r", nlri=r.nlri) for r in routes))
        made.wait(lambda p: not p.rib, "all is withdrawn")
        until(lambda: made.router.rib() == {}, "the router has nothing left")
        assert made.peer().session == 1
