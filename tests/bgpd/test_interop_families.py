"""Two families in one session against a BIRD, an FRR and a GoBGP: End-of-RIB of each, and two nodes as next hops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from announcer.model.net import Family
from announcer.model.steps import Announce, DeclareForwarding, EndOfRib, Withdraw
from tests.bgpd.interop import Interop, interop, neighbor, route
from tests.lab import Lab, SessionOptions, until
from tests.lab.lab import FORWARDING_ROUTERS, RouterKind

pytestmark = [pytest.mark.root, pytest.mark.lab]

ROUTERS = ["bird", "frr", "gobgp"]
BOTH = (Family.IPV4, Family.IPV6)
VIP, OTHER = "203.0.113.10/32", "203.0.113.11/32"
VIP6, OTHER6 = "2001:db8:203::10/128", "2001:db8:203::11/128"


@pytest.fixture(params=ROUTERS)
def router(request: pytest.FixtureRequest) -> RouterKind:
    kind: RouterKind = request.param
    return kind


def announce(made: Interop, *prefixes: str) -> None:
    made.apply(*(Announce(lane=prefix, peer="r", route=route(prefix)) for prefix in prefixes))


def come_up(made: Interop, *prefixes: str) -> None:
    """As an agent does it that has just these routes, and forwarding that outlived the speaker."""
    until(lambda: made.observe().reachable, "the speaker answers")
    made.apply(DeclareForwarding(lane="speaker", kept=True))
    made.configure(neighbor(made.lab, families=BOTH, graceful_restart=120))
    made.wait_established()
    announce(made, *prefixes)
    made.wait(lambda peer: len(peer.rib) == len(prefixes) and all(e.sent for e in peer.rib.values()), "all is sent")
    until(lambda: set(prefixes) <= set(made.router.rib()), "the router has them")


def test_end_of_rib_ends_what_is_stale_in_each_family(router: RouterKind) -> None:
    """A killed speaker comes back with fewer routes. The router keeps all of them until it is told that this is all."""
    everything = {VIP, OTHER, VIP6, OTHER6}
    with Lab(router, nodes=1, pods=0) as lab, interop(lab, families=("ipv4", "ipv6")) as made:
        come_up(made, *everything)
        made.apply(EndOfRib(lane="x", peer="r", session=1))
        made.wait(lambda peer: peer.end_of_rib == 1, "End-of-RIB is sent")
        made.kill_speaker()
        until(lambda: "Established" not in lab.router.sessions().values(), "the router lost the session")
        assert set(lab.router.rib()) == everything
        made.speaker = made.start_speaker()
        made.new_agent()
        come_up(made, VIP, VIP6)
        assert set(lab.router.rib()) == everything, "it was not told yet that this is all"
        made.apply(EndOfRib(lane="x", peer="r", session=1))
        # Well before the restart time of 120 s is over.
        until(
            lambda: set(lab.router.rib()) == {VIP, VIP6}, "what was not announced again is gone, in both families", 20
        )


@contextmanager
def speakers(lab: Lab) -> Iterator[list[Interop]]:
    made = [Interop(lab, node, lab.folder / f"speaker-{node.name}") for node in lab.nodes]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def test_two_nodes_are_two_next_hops_in_each_family(router: RouterKind) -> None:
    """IPv4 included, by way of the IPv6 addresses of the nodes (RFC 8950)."""
    session = SessionOptions(transport="ipv6", families=("ipv4", "ipv6"), ipv6_next_hop=True)
    with Lab(router, pods=0, router_asn=64600, session=session) as lab, speakers(lab) as made:
        for one in made:
            one.configure(neighbor(lab, transport="ipv6", families=BOTH))
            one.wait_established()
            announce(one, VIP, VIP6)
        first, second = (node.address6 for node in lab.nodes)
        await_next_hops(lab, first, second)
        made[0].apply(*(Withdraw(lane=prefix, peer="r", nlri=route(prefix).nlri) for prefix in (VIP, VIP6)))
        await_next_hops(lab, second)


def await_next_hops(lab: Lab, *nodes: str) -> None:
    """Wait until the router holds, and uses if it forwards, exactly these next hops for both VIPs."""
    paths, hops = [(node, node) for node in nodes], frozenset(nodes)

    def there(prefix: str) -> bool:
        held = [(path.peer, path.next_hop) for path in lab.router.rib().get(prefix, ())]
        return held == paths and (lab.kind not in FORWARDING_ROUTERS or lab.router.fib().get(prefix) == hops)

    until(lambda: there(VIP) and there(VIP6), f"the next hops {nodes}")
