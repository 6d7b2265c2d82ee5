"""BIRD, FRR and GoBGP begin the session: routes, TCP-MD5, GTSM, and a speaker that is killed.

With GoBGP everything goes over IPv6; with BIRD both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from announcer.model.bgp import Password, PeerState
from announcer.model.steps import Announce, DeclareForwarding, EndOfRib
from tests.bgpd.interop import Interop, interop, neighbor, route
from tests.bgpd.test_interop_options import OTHER, SECRET, router_takes_another_key, says
from tests.lab import FibPoll, Lab, RouteJournal, SessionOptions, until

pytestmark = [pytest.mark.root, pytest.mark.lab]

PASSWORD = "p&ss#word{}"
VIPS = {"ipv4": "203.0.113.10/32", "ipv6": "2001:db8:203::10/128"}


@pytest.fixture(scope="module", params=["bird-ipv4", "bird-ipv6", "frr-ipv4", "gobgp-ipv6"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    router, transport = request.param.split("-")
    session = SessionOptions(transport=transport, families=(transport,), connects=True)
    with Lab(router, nodes=1, pods=1, session=session) as made:
        yield made


def arrives(made: Interop) -> None:
    """The router has the route, as the speaker says that it was sent, well before a KEEPALIVE moves the stream on."""
    vip = VIPS[made.lab.plan.session.transport]
    made.apply(Announce(lane="x", peer="r", route=route(vip)))
    peer = made.wait(lambda peer: all(entry.sent for entry in peer.rib.values()), "the route is sent", 20)
    (entry,) = peer.rib.values()
    found = until(lambda: made.router.rib().get(vip), "the router has it")
    assert found is not None
    assert [(path.peer, path.next_hop) for path in found] == [(made.local, str(entry.next_hop))]


def test_the_router_begins_the_session(lab: Lab) -> None:
    with interop(lab, connects=True) as made:
        made.configure(neighbor(lab, passive=True, hold_time=90))
        made.wait_established(seconds=30)
        arrives(made)
        seen = made.observe()
        assert (seen.peers["r"].last_error, seen.strangers, seen.engine_restarts) == (None, 0, {})


def test_a_router_that_waits_too_is_waited_for(lab: Lab) -> None:
    """Negative control of the options: nobody begins."""
    with interop(lab, connects=False) as made:
        made.configure(neighbor(lab, passive=True))
        peer = made.wait(lambda peer: peer.last_error is not None, "it is said")
        assert peer.state is PeerState.ACTIVE
        assert f"no TCP connection from {peer.neighbor.address} to port 179 of this node" in (peer.last_error or "")


def test_the_same_password(lab: Lab) -> None:
    with interop(lab, connects=True, password=PASSWORD) as made:
        made.configure(neighbor(lab, passive=True, password=Password(PASSWORD), hold_time=90))
        made.wait_established(seconds=30)
        arrives(made)


@pytest.mark.parametrize("theirs", [OTHER, None], ids=["another", "none"])
def test_the_wrong_password_and_none(lab: Lab, theirs: str | None) -> None:
    with interop(lab, connects=True, password=theirs) as made:
        made.configure(neighbor(lab, passive=True, password=Password(SECRET)))
        words = says(made, "TCP-MD5")
        assert ("another password" if theirs else "does not sign") in words
        assert made.peer().session == 0
        # Mended, it comes up by itself, and the error goes.
        made.configure(neighbor(lab, passive=True, password=Password(theirs) if theirs else None))
        assert made.wait_established(seconds=40).last_error is None


def test_a_password_on_their_side_only(lab: Lab) -> None:
    with interop(lab, connects=True, password=OTHER) as made:
        made.configure(neighbor(lab, passive=True))
        assert "the peer signs" in says(made, "TCP-MD5")
        assert made.peer().session == 0


def test_ttl_security_on_neither_side(lab: Lab) -> None:
    with interop(lab, connects=True, ttl_security=False) as made:
        made.configure(neighbor(lab, passive=True, ttl_security=False, hold_time=90))
        made.wait_established(seconds=30)
        arrives(made)


def test_ttl_security_on_our_side_only(lab: Lab) -> None:
    with interop(lab, connects=True, ttl_security=False) as made:
        made.configure(neighbor(lab, passive=True, ttl_security=True))
        assert "TTL below 255" in says(made, "GTSM")
        peer = made.peer()
        assert (peer.state, peer.session) == (PeerState.ACTIVE, 0)
        assert made.observe().strangers == 0, "it is a peer, with the wrong options"


@pytest.mark.parametrize("kept", [True, False], ids=["graceful", "control"])
def test_a_killed_speaker_is_connected_to_again(kept: bool) -> None:
    """Under graceful restart (RFC 4724) the router's FIB never loses the route; where it must, it does."""
    with (
        Lab("bird", nodes=1, pods=0) as lab,
        interop(lab, connects=True) as made,
    ):
        vip = VIPS["ipv4"]

        def bring_up(lost: Callable[[], bool] | None = None) -> None:
            until(lambda: made.observe().reachable, "the speaker answers")
            made.apply(DeclareForwarding(lane="speaker", kept=kept))
            made.configure(neighbor(lab, passive=True, graceful_restart=120))
            made.wait_established(seconds=30)
            if lost:
                until(lost, "the router has lost the route")
            made.apply(Announce(lane="x", peer="r", route=route(vip)), EndOfRib(lane="r", peer="r", session=1))
            made.wait(lambda peer: peer.end_of_rib == 1, "End-of-RIB is sent")
            until(lambda: vip in lab.router.fib(), "the route stands in the router's kernel")

        bring_up()
        with RouteJournal(lab.router) as journal, FibPoll(lab.router, vip) as poll:
            made.kill_speaker()
            until(lambda: "Established" not in lab.router.sessions().values(), "the router lost the session")
            made.speaker = made.start_speaker()
            made.new_agent()
            bring_up(None if kept else lambda: poll.look().missing > 0)
            until(lambda: poll.look().looks > 20, "looked at it often enough to mean something")
            seen = poll.stop()
            deleted = journal.deleted(vip)
        assert (bool(deleted), seen.missing > 0) == (not kept, not kept)


def test_the_router_moves_to_another_key(lab: Lab) -> None:
    """As a key is changed in practice: the router first, then here. The router begins again by itself."""
    with interop(lab, connects=True, password=PASSWORD) as made:
        made.configure(neighbor(lab, passive=True, password=Password(PASSWORD), hold_time=9))
        made.wait_established(seconds=30)
        router_takes_another_key(lab, made)
        made.configure(neighbor(lab, passive=True, password=Password(OTHER), hold_time=9))
        made.wait_established(session=2, seconds=40)
