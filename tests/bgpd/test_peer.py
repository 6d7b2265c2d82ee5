"""One neighbor without I/O: what peers send, what the state says, what is told to the engine and when."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.bgp import Neighbor, PeerState, Route
from bgpd import wire
from bgpd.commands import Batch, EndOfRibCommand
from bgpd.peer import Peer
from bgpd.protocol import Message, StateChanged

ADDRESS = IPv4Address("10.0.0.1")
LOCAL = IPv4Address("10.0.0.2")
VIP = IPv4Network("203.0.113.10/32")
IPV6_ONLY = bytes(9) + bytes([8]) + bytes.fromhex("0206010400020001")


@pytest.fixture
def peer() -> Peer:
    """Down since second 5."""
    return Peer(Neighbor(name="r1", address=ADDRESS, peer_asn=1, local_asn=2), now=5.0, wall=1000.0)


def change(peer: Peer, state: str, now: float, reason: str = "") -> None:
    peer.state_changed(StateChanged(ADDRESS, state, reason, LOCAL), now=now, wall=1000.0 + now)


def received(kind: int, body: bytes) -> Message:
    return Message(ADDRESS, sent=False, kind=kind, size=19 + len(body), body=body)


@given(kind=st.integers(0, 255), body=st.binary(max_size=60))
def test_nothing_that_a_peer_sends_raises(kind: int, body: bytes) -> None:
    peer = Peer(Neighbor(name="r1", address=ADDRESS, peer_asn=1, local_asn=2), now=0.0, wall=0.0)
    change(peer, "connected", 0)
    peer.message(received(kind, body))
    for open_kind in (wire.OPEN, wire.UPDATE, wire.NOTIFICATION):
        peer.message(received(open_kind, body))


def test_clocks_and_sessions(peer: Peer) -> None:
    assert (peer.observed().state, peer.observed().down_since, peer.observed().session) == (PeerState.IDLE, 5.0, 0)
    peer.fsm_changed("OPENSENT", 1006.0)
    assert peer.observed().state is PeerState.OPEN_SENT
    change(peer, "up", 7)
    seen = peer.observed()
    assert (seen.state, seen.since, seen.down_since, seen.session) == (PeerState.ESTABLISHED, 1007.0, None, 1)
    change(peer, "down", 9, "closing connection")
    change(peer, "down", 11, "closing connection")
    seen = peer.observed()
    assert (seen.state, seen.down_since, seen.session) == (PeerState.CONNECT, 9, 1), "down since it went down first"


def test_a_notification_says_more_than_the_end_of_the_connection(peer: Peer) -> None:
    change(peer, "up", 6)
    peer.message(received(wire.NOTIFICATION, b"\x06\x02"))
    change(peer, "down", 7, "notification received (6,2)")
    change(peer, "down", 8, "closing connection")
    assert peer.last_error == "received NOTIFICATION: Cease (6), Administrative Shutdown (2)"
    change(peer, "up", 9)
    assert peer.last_error is None


def test_a_peer_without_ipv4_is_told_nothing_and_says_so(peer: Peer) -> None:
    peer.rib.want(Route(nlri=VIP))
    change(peer, "connected", 6)
    peer.message(received(wire.OPEN, IPV6_ONLY))
    change(peer, "up", 7)
    assert peer.next_command() is None
    assert "IPv4 unicast" in (peer.last_error or "")
    change(peer, "down", 8, "closing connection")
    change(peer, "connected", 9)
    peer.message(received(wire.OPEN, bytes(10)))
    change(peer, "up", 10)
    assert isinstance(peer.next_command(), Batch)


def test_end_of_rib_waits_for_the_routes_to_be_written(peer: Peer) -> None:
    peer.rib.want(Route(nlri=VIP))
    assert not peer.want_end_of_rib(1), "there is no session yet"
    change(peer, "connected", 6)
    change(peer, "up", 7)
    assert peer.want_end_of_rib(1)
    batch = peer.next_command()
    assert isinstance(batch, Batch)
    peer.rib.answered(batch, True)
    assert peer.next_command() is None, "taken is not written"
    body = bytes(4) + b"\x20" + VIP.network_address.packed
    peer.message(Message(ADDRESS, sent=True, kind=wire.UPDATE, size=19 + len(body), body=body))
    assert peer.next_command() == EndOfRibCommand(ADDRESS, 1)
    peer.end_of_rib_told()
    assert peer.next_command() is None
    peer.message(Message(ADDRESS, sent=True, kind=wire.UPDATE, size=23, body=bytes(4)))
    peer.received(peer.stream - 1)
    assert (peer.end_of_rib, peer.rib.entries()[VIP].sent) == (0, True)
    peer.received(peer.stream)
    assert peer.end_of_rib == 1
