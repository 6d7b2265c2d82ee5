"""The speaker and ExaBGP against real BIRDs: routes, attributes, what "sent" means, End-of-RIB."""

from __future__ import annotations

import signal
import statistics
import time
from ipaddress import IPv4Address, IPv4Network

import pytest

from announcer.model.bgp import PeerState, Route
from announcer.model.observed import OutcomeState
from announcer.model.steps import Announce, EndOfRib, Withdraw
from tests.bgpd.rig import LOCAL_ASN, SPEAKER_ADDRESS, Rig, eventually, neighbor, states

pytestmark = pytest.mark.root

VIP = IPv4Network("203.0.113.10/32")
END_OF_RIB = "Got END-OF-RIB"


def announce(nlri: IPv4Network = VIP, peer: str = "r1", **attributes: object) -> Announce:
    return Announce(lane=str(nlri), peer=peer, route=Route(nlri=nlri, **attributes))  # type: ignore[arg-type]


def withdraw(nlri: IPv4Network = VIP, peer: str = "r1") -> Withdraw:
    return Withdraw(lane=str(nlri), peer=peer, nlri=nlri)


def test_a_route_is_announced_and_withdrawn(rig: Rig) -> None:
    bird = rig.start_bird()
    assert rig.configure(neighbor()).state is OutcomeState.DONE
    peer = rig.wait_established().peers["r1"]
    assert (peer.session, peer.down_since, peer.last_error) == (1, None, None)
    assert rig.in_speaker("ss -Hltn") == "", "nothing of ours listens on the network"

    # Well within the 10 s after which a KEEPALIVE would move the stream on.
    assert states(rig.apply(announce())) == {"done"}
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent, 5)
    eventually(lambda: str(VIP) in bird.routes())

    assert states(rig.apply(withdraw())) == {"done"}
    rig.wait(lambda seen: VIP not in seen.peers["r1"].rib, 5)
    eventually(lambda: bird.routes() == {})
    assert rig.peer().updates_sent == 2


def test_attributes_on_ebgp(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce(communities=((65000, 10), (65535, 65281)), local_pref=250))
    eventually(lambda: str(VIP) in bird.routes())
    said = bird.routes()[str(VIP)]
    assert "BGP.origin: IGP" in said
    assert f"BGP.as_path: {LOCAL_ASN}\n" in said
    assert f"BGP.next_hop: {SPEAKER_ADDRESS}\n" in said
    assert "BGP.community: (65000,10) (65535,65281)" in said
    assert "BGP.local_pref: 100\n" in said, "LOCAL_PREF must not cross an AS border; 100 is BIRD's own default"


def test_attributes_on_ibgp(rig: Rig) -> None:
    bird = rig.start_bird(asn=LOCAL_ASN)
    rig.configure(neighbor(peer_asn=LOCAL_ASN))
    rig.wait_established()
    other = IPv4Network("203.0.113.11/32")
    rig.apply(announce(local_pref=250), announce(other, next_hop=IPv4Address("10.99.0.77")))
    eventually(lambda: {str(VIP), str(other)} <= set(bird.routes()))
    said = bird.routes()
    assert "BGP.local_pref: 250\n" in said[str(VIP)]
    assert "BGP.as_path: \n" in said[str(VIP)]
    assert "BGP.next_hop: 10.99.0.77\n" in said[str(other)]
    assert "BGP.local_pref: 100\n" in said[str(other)]


def test_next_hop_self_without_a_configured_local_address(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor(local_address=None))
    rig.wait_established()
    rig.apply(announce())
    eventually(lambda: str(VIP) in bird.routes())
    assert f"BGP.next_hop: {SPEAKER_ADDRESS}\n" in bird.routes()[str(VIP)]


def test_changed_attributes_replace_the_route(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce(communities=((65000, 1),)))
    rig.apply(announce(communities=((65000, 2),)))
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
    eventually(lambda: "(65000,2)" in bird.routes().get(str(VIP), ""))


@pytest.mark.parametrize("last", ["announce", "withdraw"])
def test_the_last_of_many_changes_is_what_a_slow_peer_ends_with(rig: Rig, last: str) -> None:
    """What waits for such a peer the engine sorts by attributes and not by time, so a withdrawal may be overtaken."""
    rig.in_router("sysctl -q -w net.ipv4.tcp_rmem='4096 4096 4096'")
    rig.in_speaker("sysctl -q -w net.ipv4.tcp_wmem='4096 4096 4096'")
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    bird.signal(signal.SIGSTOP)
    others = [IPv4Network((0x0A000000 + 256 * number, 24)) for number in range(5000)]
    rig.apply(*map(announce, others))
    assert not all(entry.sent for entry in rig.peer().rib.values()), "the peer does not read"
    start = time.monotonic()
    for number in range(6):
        rig.apply(announce(communities=((65000, number % 2),)))
        rig.apply(withdraw())
    if last == "announce":
        rig.apply(announce(communities=((65000, 99),)))
    assert time.monotonic() - start < 5, "the agent is not made to wait for a peer that does not read"
    bird.signal(signal.SIGCONT)
    if last == "announce":
        rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent, 40)
        eventually(lambda: "(65000,99)" in bird.routes().get(str(VIP), ""))
    else:
        rig.wait(
            lambda seen: VIP not in seen.peers["r1"].rib and all(e.sent for e in seen.peers["r1"].rib.values()), 40
        )
        eventually(lambda: bird.count() == len(others))
        assert str(VIP) not in bird.routes()


def test_end_of_rib_once_and_only_when_asked(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce())
    eventually(lambda: str(VIP) in bird.routes())
    assert END_OF_RIB not in bird.log()
    assert rig.peer().end_of_rib == 0

    wrong = rig.apply(EndOfRib(lane="r1", peer="r1", session=7))[0]
    assert (wrong.state, wrong.retry) == (OutcomeState.FAILED, True)
    for _ in range(2):
        assert states(rig.apply(EndOfRib(lane="r1", peer="r1", session=1))) == {"done"}
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    eventually(lambda: END_OF_RIB in bird.log())
    assert bird.log().count(END_OF_RIB) == 1


def assert_sent_when_it_has_left(rig: Rig) -> None:
    """``sent`` is said of a route to r1 when the link lets it through, and not before."""
    before = rig.wait_established().peers["r1"].updates_sent
    rig.in_router("ip link set eth0 down")
    rig.apply(announce())
    rig.wait(lambda seen: seen.peers["r1"].updates_sent == before + 1)
    for _ in range(50):
        entry = rig.peer().rib[VIP]
        assert (entry.acknowledged, entry.sent) == (True, False)
    rig.in_router("ip link set eth0 up")
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)


def test_nothing_is_sent_while_the_link_is_down(rig: Rig) -> None:
    """The engine takes the route and writes it; but it has not left, and must not be said to have."""
    bird = rig.start_bird()
    rig.configure(neighbor())
    assert_sent_when_it_has_left(rig)
    eventually(lambda: str(VIP) in bird.routes())


def test_sent_is_never_said_before_the_bytes_are_on_the_wire(rig: Rig) -> None:
    rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    capture = rig.capture()
    said: dict[bytes, float] = {}
    for number in range(30):
        nlri = IPv4Network((0xCB007200 + number, 32))
        rig.apply(announce(nlri))
        rig.wait(lambda seen, nlri=nlri: seen.peers["r1"].rib[nlri].sent)  # type: ignore[misc]
        said[nlri.network_address.packed] = time.time()
    caught = [message for message in capture.stop() if message.kind == 2]
    lags = []
    for address, at in said.items():
        passed = [message.time for message in caught if message.body.endswith(b"\x20" + address)]
        assert len(passed) == 1
        assert passed[0] <= at
        lags.append(1000 * (at - passed[0]))
    median = statistics.median(lags)
    print(f"\nsent was said after the bytes by p50 {median:.1f} ms, max {max(lags):.1f} ms, n {len(lags)}")


def test_a_peer_that_is_away_gets_everything_when_it_comes(rig: Rig) -> None:
    rig.configure(neighbor())
    other = IPv4Network("203.0.113.11/32")
    assert states(rig.apply(announce(), announce(other))) == {"done"}
    entry = rig.peer().rib[VIP]
    assert (entry.acknowledged, entry.sent) == (True, False)
    assert states(rig.apply(withdraw(other))) == {"done"}
    assert other not in rig.peer().rib, "nobody holds it, so there is nothing to wait for"
    bird = rig.start_bird()
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent, 30)
    eventually(lambda: str(VIP) in bird.routes())
    assert str(other) not in bird.routes()


def test_routes_and_end_of_rib_return_with_the_session(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce(), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    capture = rig.capture()
    before = time.monotonic()
    bird.ask("disable speaker")
    down = rig.wait(lambda seen: seen.peers["r1"].state is not PeerState.ESTABLISHED).peers["r1"]
    assert down.down_since is not None
    assert before <= down.down_since <= time.monotonic()
    assert down.last_error is not None
    assert "Administrative Shutdown" in down.last_error
    assert not down.rib[VIP].sent
    rig.apply(announce(IPv4Network("203.0.113.11/32")))
    bird.ask("enable speaker")
    up = rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 2, 30).peers["r1"]
    assert (up.session, up.last_error) == (2, None)
    eventually(lambda: bird.count() == 2)
    ours = [message.body for message in capture.stop() if message.kind == 2 and message.source == str(SPEAKER_ADDRESS)]
    assert ours[-1] == bytes(4), "End-of-RIB comes after the routes"
    assert ours.count(bytes(4)) == 1


def test_one_peer_that_does_not_read_does_not_hold_up_another(rig: Rig) -> None:
    first, second = rig.start_bird(0), rig.start_bird(1)
    rig.configure(neighbor("r1", 0), neighbor("r2", 1))
    rig.wait_established("r1", "r2")
    first.signal(signal.SIGSTOP)
    routes = [IPv4Network((0x0A000000 + 256 * number, 24)) for number in range(3000)]
    rig.apply(*(announce(nlri, peer) for nlri in routes for peer in ("r1", "r2")))
    rig.wait(lambda seen: all(entry.sent for entry in seen.peers["r2"].rib.values()), 30)
    eventually(lambda: second.count() == 3000)


def test_one_speaker_is_another_as_to_each_peer(rig: Rig) -> None:
    """Internal to one and external to the other, with AS numbers of 2 and of 4 bytes: each gets routes as it should."""
    wide = 4200000001
    first, second = rig.start_bird(0, asn=wide, local_asn=wide), rig.start_bird(1, asn=65002, local_asn=65000)
    rig.configure(neighbor("r1", 0, peer_asn=wide, local_asn=wide), neighbor("r2", 1, peer_asn=65002, local_asn=65000))
    rig.wait_established("r1", "r2")
    for peer in ("r1", "r2"):
        rig.apply(announce(peer=peer, local_pref=250, prepend=1))
    eventually(lambda: str(VIP) in first.routes() and str(VIP) in second.routes())
    internal, external = first.routes()[str(VIP)], second.routes()[str(VIP)]
    assert "BGP.as_path: \n" in internal
    assert "BGP.local_pref: 250\n" in internal
    assert "BGP.as_path: 65000 65000\n" in external
    assert "BGP.local_pref: 100\n" in external, "BIRD's own"


def test_a_source_address_that_is_not_there_is_named_and_taken_when_it_comes(rig: Rig) -> None:
    rig.start_bird()
    missing = IPv4Address("10.99.0.77")
    rig.configure(neighbor(local_address=missing))
    seen = rig.wait(lambda seen: "source-address" in (seen.peers["r1"].last_error or ""), 15)
    assert seen.peers["r1"].last_error == (
        "the source-address 10.99.0.77 is no usable address of this node: no connection can come from it"
    )

    # Control: once the address is there, nothing more is said of it, and what is wrong now is.
    rig.in_speaker(f"ip address add {missing}/32 dev lo")
    rig.wait(lambda seen: "source-address" not in (seen.peers["r1"].last_error or ""), 15)
    rig.configure(neighbor())
    assert rig.wait_established().peers["r1"].last_error is None
