"""One neighbor without I/O: what peers send, what the state says, what is told to the engine and when."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.bgp import Neighbor, PeerState, Route
from announcer.model.net import Family
from bgpd import wire
from bgpd.commands import Batch, EndOfRibCommand
from bgpd.peer import Peer
from bgpd.protocol import Message, StateChanged

ADDRESS = IPv4Address("10.0.0.1")
LOCAL = IPv4Address("10.0.0.2")
VIP = IPv4Network("203.0.113.10/32")
VIP6 = IPv6Network("2001:db8:203::1/128")
#: An UPDATE with an MP_UNREACH_NLRI without prefixes (RFC 4724 section 2), as ExaBGP writes it.
MARKER6 = bytes.fromhex("00000007900f0003000201")


def open_of(*families: int) -> bytes:
    """An OPEN that offers these address families (AFI) with SAFI unicast."""
    capabilities = b"".join(b"\x02\x06\x01\x04" + afi.to_bytes(2, "big") + b"\0\x01" for afi in families)
    return bytes(9) + bytes([len(capabilities)]) + capabilities


@pytest.fixture
def peer() -> Peer:
    """Down since second 5."""
    return Peer(Neighbor(name="r1", address=ADDRESS, peer_asn=1, local_asn=2), now=5.0, wall=1000.0)


def change(peer: Peer, state: str, now: float, reason: str = "") -> None:
    peer.state_changed(StateChanged(ADDRESS, state, reason, LOCAL), now=now, wall=1000.0 + now)


def come_up(peer: Peer, now: float, *families: int) -> None:
    """As the engine reports it: a connection, the peer's OPEN, Established."""
    change(peer, "connected", now)
    peer.message(received(wire.OPEN, open_of(*families or (1,))))
    change(peer, "up", now)


def received(kind: int, body: bytes) -> Message:
    return Message(ADDRESS, sent=False, kind=kind, size=19 + len(body), body=body)


def emit(peer: Peer, body: bytes) -> None:
    """The engine writes an UPDATE."""
    peer.message(Message(ADDRESS, sent=True, kind=wire.UPDATE, size=19 + len(body), body=body))


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
    come_up(peer, 7)
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
    come_up(peer, 9)
    assert peer.last_error is None


def test_a_peer_without_ipv4_is_told_nothing_and_says_so(peer: Peer) -> None:
    peer.rib.want(Route(nlri=VIP))
    for families, words in (((2,), "IPv4 unicast"), ((), "multiprotocol")):
        change(peer, "connected", 6)
        peer.message(received(wire.OPEN, open_of(*families)))
        change(peer, "up", 7)
        assert peer.next_command() is None
        assert words in (peer.last_error or "")
        assert words in peer.observed().unusable[Family.IPV4]
        entry = peer.rib.entries()[VIP]
        assert (entry.acknowledged, entry.sent) == (True, False), "nobody waits for it"
        change(peer, "down", 8, "closing connection")
        assert peer.observed().unusable == {}
    come_up(peer, 10)
    assert isinstance(peer.next_command(), Batch)


def test_a_family_that_the_session_cannot_carry_holds_up_nothing(peer: Peer) -> None:
    """Not the routes of the other, not its End-of-RIB, and it gets one too: the peer may hold stale routes of it."""
    neighbor = msgspec.structs.replace(peer.neighbor, families=(Family.IPV4, Family.IPV6))
    peer = Peer(neighbor, now=5.0, wall=1000.0)
    for nlri in (VIP6, VIP):
        peer.rib.want(Route(nlri=nlri))
    come_up(peer, 6, 1, 2)
    assert "no IPv6 address" in peer.observed().unusable[Family.IPV6]
    batch = peer.next_command()
    assert isinstance(batch, Batch)
    assert batch.prefixes == (VIP,)
    peer.rib.answered(batch, True)
    emit(peer, bytes(4) + b"\x20" + VIP.network_address.packed)
    peer.received(peer.stream)
    assert peer.want_end_of_rib(1)
    for family, body in ((Family.IPV4, bytes(4)), (Family.IPV6, MARKER6)):
        assert peer.observed().end_of_rib == 0
        assert peer.next_command() == EndOfRibCommand(ADDRESS, family, 1)
        peer.markers.told(family)
        peer.markers.answered(family, 1, ok=True)
        emit(peer, body)
        peer.received(peer.stream)
    assert (peer.observed().end_of_rib, peer.end_of_rib_taken) == (1, True)
    assert peer.next_command() is None


def test_a_session_that_carries_nothing_has_nothing_to_end(peer: Peer) -> None:
    come_up(peer, 6, 2)
    assert peer.want_end_of_rib(1)
    assert (peer.next_command(), peer.observed().end_of_rib) == (None, 1)
    change(peer, "down", 8)
    come_up(peer, 9, 2)
    assert peer.observed().end_of_rib == 2


def test_a_refused_end_of_rib_is_asked_for_again(peer: Peer) -> None:
    come_up(peer, 6)
    peer.want_end_of_rib(1)
    peer.markers.told(Family.IPV4)
    assert peer.next_command() is None
    peer.markers.answered(Family.IPV4, 1, ok=False)
    assert peer.next_command() == EndOfRibCommand(ADDRESS, Family.IPV4, 1)
    assert not peer.end_of_rib_taken


def test_end_of_rib_waits_for_the_routes_to_be_written(peer: Peer) -> None:
    peer.rib.want(Route(nlri=VIP))
    assert not peer.want_end_of_rib(1), "there is no session yet"
    come_up(peer, 7)
    assert peer.want_end_of_rib(1)
    batch = peer.next_command()
    assert isinstance(batch, Batch)
    peer.rib.answered(batch, True)
    assert peer.next_command() is None, "taken is not written"
    emit(peer, bytes(4) + b"\x20" + VIP.network_address.packed)
    assert peer.next_command() == EndOfRibCommand(ADDRESS, Family.IPV4, 1)
    peer.markers.told(Family.IPV4)
    assert peer.next_command() is None
    emit(peer, bytes(4))
    peer.received(peer.stream - 1)
    assert (peer.observed().end_of_rib, peer.rib.entries()[VIP].sent) == (0, True)
    peer.received(peer.stream)
    assert peer.observed().end_of_rib == 1
