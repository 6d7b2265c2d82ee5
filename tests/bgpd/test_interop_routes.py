"""What a BIRD and an FRR hold is what the speaker says, field by field: eBGP and iBGP, 2- and 4-byte ASNs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from announcer.model.bgp import PeerObserved
from announcer.model.steps import Announce, Withdraw
from tests.bgpd.interop import Interop, interop, neighbor, path_of, route
from tests.lab import Lab, RibPath, until

pytestmark = [pytest.mark.root, pytest.mark.lab]

WIDE_ASN, WIDE_ROUTER_ASN = 4200000001, 4200000002

ROUTES = [
    route("203.0.113.1/32"),
    route("203.0.113.2/32", communities=((64512, 7), (65535, 0), (65535, 65281))),
    route("203.0.113.3/32", large_communities=((64512, 0, 4294967295), (4294967295, 1, 2))),
    route("203.0.113.4/32", med=0),
    route("203.0.113.5/32", med=4294967295),
    route("203.0.113.6/32", prepend=3),
    route("203.0.113.7/32", local_pref=250),
    route("203.0.113.8/32", local_pref=0),
    route("10.244.7.0/24", med=10, prepend=1, local_pref=7, communities=((1, 1),), large_communities=((1, 2, 3),)),
    route("203.0.113.9/32", med=10, prepend=1, local_pref=7, communities=((1, 1),), large_communities=((1, 2, 3),)),
]


@pytest.fixture(scope="module", params=["bird", "frr"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(request.param, nodes=1, pods=1) as made:
        yield made


def expected(made: Interop, peer: PeerObserved) -> dict[str, RibPath]:
    local = made.lab.nodes[0].address
    return {str(nlri): path_of(peer, entry, local) for nlri, entry in peer.rib.items()}


def held(made: Interop, peer: PeerObserved) -> dict[str, RibPath]:
    """What the router has, one path for each prefix; its own LOCAL_PREF on eBGP is not ours to compare."""
    found = {}
    for prefix, (path,) in made.router.rib().items():
        found[prefix] = path if peer.neighbor.internal else msgspec.structs.replace(path, local_pref=None)
    return found


@pytest.mark.parametrize(
    ("asn", "router_asn"),
    [(64512, 64600), (64512, 64512), (WIDE_ASN, WIDE_ROUTER_ASN), (WIDE_ASN, 64600), (WIDE_ASN, WIDE_ASN)],
    ids=["ebgp", "ibgp", "ebgp-wide", "ebgp-mixed", "ibgp-wide"],
)
def test_the_router_holds_what_the_speaker_says(lab: Lab, asn: int, router_asn: int) -> None:
    with interop(lab, asn=asn, router_asn=router_asn) as made:
        made.configure(neighbor(lab, asn=asn, router_asn=router_asn))
        made.wait_established()
        made.apply(*(Announce(lane=str(r.nlri), peer="r", route=r) for r in ROUTES))
        peer = made.wait(lambda p: len(p.rib) == len(ROUTES) and all(e.sent for e in p.rib.values()), "all is sent")
        assert [peer.rib[r.nlri].route for r in ROUTES] == ROUTES
        until(lambda: len(made.router.rib()) == len(ROUTES), "the router has all routes")
        assert held(made, peer) == expected(made, peer)

        # Attributes come, change and go: each time one UPDATE that replaces the route, and no withdrawal.
        before = peer.updates_sent
        changed = [
            msgspec.structs.replace(ROUTES[0], med=3, prepend=1, large_communities=((9, 9, 9),)),
            msgspec.structs.replace(ROUTES[1], communities=()),
            msgspec.structs.replace(ROUTES[5], prepend=0),
        ]
        for replacement in changed:
            made.apply(Announce(lane="x", peer="r", route=replacement))
            made.wait(lambda p, r=replacement: p.rib[r.nlri].route == r and p.rib[r.nlri].sent, "it is sent")  # type: ignore[misc]
        peer = made.peer()
        assert peer.updates_sent == before + len(changed)
        until(lambda: held(made, peer) == expected(made, peer), "the router has the new attributes")

        made.apply(*(Withdraw(lane=str(r.nlri), peer="r", nlri=r.nlri) for r in ROUTES))
        made.wait(lambda p: not p.rib, "all is withdrawn")
        until(lambda: made.router.rib() == {}, "the router has nothing left")
        assert made.peer().session == 1
