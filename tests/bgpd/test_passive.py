"""Passive peers: the speaker waits for exactly those, and nothing that goes wrong there concerns another session.

``test_interop_passive.py`` has the same against each router, with TCP-MD5, GTSM and graceful restart.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from announcer.model.bgp import Neighbor, Password, PeerState
from bgpd.refusal import Cause, Refusal
from tests.bgpd.inside import inside
from tests.bgpd.plain import plain_engine
from tests.bgpd.rig import ROUTER_ADDRESSES, SPEAKER_ADDRESS, Bird, Rig, eventually, neighbor, states
from tests.bgpd.scripted import KEEPALIVE, open_message
from tests.bgpd.test_flapping import CEASE
from tests.bgpd.test_sessions import VIP, announce, assert_sent_when_it_has_left, withdraw

OTHER_VIP = IPv4Network("203.0.113.11/32")
LATE_ADDRESS = IPv4Address("10.99.0.77")
#: It begins the session, and soon tries again.
CONNECTS = "passive off; connect delay time 1; connect retry time 1; error wait time 1, 2;"
HERE = f"{SPEAKER_ADDRESS}:179"


def passive(name: str = "r1", router: int = 0, **more: Any) -> Neighbor:
    return neighbor(name, router, passive=True, **more)


def connecting_bird(rig: Rig, router: int = 0, options: str = "") -> Bird:
    return rig.start_bird(router, options=CONNECTS + options)


def listening(rig: Rig) -> list[str]:
    """Where somebody listens in the speaker's namespace."""
    return sorted(line.split()[3] for line in rig.in_speaker("ss -Hltn").splitlines())


def dial(rig: Rig, source: IPv4Address, seconds: float = 10) -> socket.socket:
    """A connection from the router's namespace to the speaker's address."""
    here = (str(SPEAKER_ADDRESS), 179)
    return inside(rig.name + "r", lambda: socket.create_connection(here, seconds, (str(source), 0)))


def is_reset(rig: Rig, source: IPv4Address) -> bool:
    """Connect from there and wait for the end of it. True if it was by RST and without a word, however soon."""
    try:
        with dial(rig, source) as connection:
            connection.sendall(open_message())
            connection.recv(1)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@contextmanager
def taken(rig: Rig) -> Iterator[None]:
    """Another program listens on the port of BGP in the speaker's namespace."""
    with inside(rig.name + "s", lambda: socket.create_server(("0.0.0.0", 179))):
        yield


@pytest.mark.root
@pytest.mark.parametrize("local", [SPEAKER_ADDRESS, None], ids=["source-address", "by-route"])
def test_routes_are_sent_over_a_session_that_the_router_began(rig: Rig, local: IPv4Address | None) -> None:
    rig.configure(passive(local_address=local, hold_time=90))
    waiting = rig.wait(lambda seen: seen.peers["r1"].state is PeerState.ACTIVE).peers["r1"]
    assert waiting.session == 0
    assert listening(rig) == [HERE]
    bird = connecting_bird(rig)
    peer = rig.wait_established().peers["r1"]
    assert (peer.session, peer.down_since, peer.last_error) == (1, None, None)

    # Well within the 30 s after which a KEEPALIVE would move the stream on: no byte more is waited for than was sent.
    assert states(rig.apply(announce())) == {"done"}
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent, 15)
    eventually(lambda: str(VIP) in bird.routes())
    assert f"BGP.next_hop: {SPEAKER_ADDRESS}\n" in bird.routes()[str(VIP)]
    assert states(rig.apply(withdraw())) == {"done"}
    rig.wait(lambda seen: VIP not in seen.peers["r1"].rib, 15)
    eventually(lambda: bird.routes() == {})

    rig.configure(neighbor("r2", 1))
    eventually(lambda: listening(rig) == [], what="the last passive peer went, and the socket with it")


@pytest.mark.root
def test_sent_is_not_said_while_the_link_is_down(rig: Rig) -> None:
    connecting_bird(rig)
    rig.configure(passive())
    assert_sent_when_it_has_left(rig)


@pytest.mark.root
def test_strangers_are_reset_and_counted(rig: Rig) -> None:
    """Neither a session that is up nor one that is awaited notices; a peer that is not passive is a stranger there."""
    bird = connecting_bird(rig)
    rig.start_bird(1)
    rig.configure(passive(), neighbor("r2", 1))
    rig.wait_established("r1", "r2")
    assert rig.observe().strangers == 0
    for _ in range(3):
        assert is_reset(rig, ROUTER_ADDRESSES[1])
    seen = rig.wait(lambda seen: seen.strangers == 3)
    assert {peer.session for peer in seen.peers.values()} == {1}
    assert seen.engine_restarts == {}
    assert "Established" in bird.ask("show protocols all speaker")


@pytest.mark.root
def test_a_second_connection_does_not_end_the_session(rig: Rig) -> None:
    connecting_bird(rig)
    rig.configure(passive())
    rig.wait_established()
    with dial(rig, ROUTER_ADDRESSES[0]) as second:
        said = b"".join(iter(lambda: second.recv(4096), b""))
    assert said[18:21] == b"\x03\x06\x07", "Cease, Connection Collision Resolution (RFC 4271 section 6.8)"
    rig.apply(announce())
    seen = rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
    assert (seen.peers["r1"].session, seen.strangers) == (1, 0)


@pytest.mark.root
def test_a_taken_port_is_named_and_costs_nobody_else_anything(rig: Rig) -> None:
    other = rig.start_bird(1)
    connecting_bird(rig)
    with taken(rig):
        rig.configure(passive(), neighbor("r2", 1))
        seen = rig.wait(lambda seen: "is taken" in (seen.peers["r1"].last_error or ""))
        assert seen.peers["r1"].last_error == (
            "port 179 of 10.99.0.1 is taken: another program of this node listens there, so 10.99.0.2 cannot connect"
        )
        assert seen.peers["r1"].state is PeerState.IDLE
        rig.wait_established("r2")
    seen = rig.wait_established("r1", "r2")
    assert seen.peers["r1"].last_error is None
    assert (seen.peers["r2"].session, seen.engine_restarts) == (1, {})
    assert "Established" in other.ask("show protocols all speaker")


@pytest.mark.root
def test_control_exabgp_as_it_comes_ends_where_a_port_is_taken(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig, taken(rig):
        listens = ("passive true;", "passive true; listen 179;")
        with plain_engine(rig, passive(), listens) as engine:
            eventually(lambda: engine.process.poll() is not None, what="it ends")


@pytest.mark.root
def test_control_exabgp_as_it_comes_answers_strangers(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        listens = ("passive true;", "passive true; listen 179;")
        with plain_engine(rig, passive(), listens):
            eventually(lambda: listening(rig) == [HERE])
            assert not is_reset(rig, ROUTER_ADDRESSES[1])


@pytest.mark.root
def test_a_port_that_is_ours_to_choose(rig: Rig) -> None:
    with taken(rig):
        rig.configure(passive(port=1179))
        rig.wait(lambda seen: seen.peers["r1"].state is PeerState.ACTIVE)
        assert listening(rig) == ["0.0.0.0:179", f"{SPEAKER_ADDRESS}:1179"]
        bird = rig.start_bird(options=CONNECTS, speaker=f"{SPEAKER_ADDRESS} port 1179")
        rig.wait_established()
        rig.apply(announce())
        rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
        eventually(lambda: str(VIP) in bird.routes())


@pytest.mark.root
def test_an_address_that_comes_later(rig: Rig) -> None:
    rig.configure(passive(local_address=LATE_ADDRESS))
    seen = rig.wait(lambda seen: "source-address" in (seen.peers["r1"].last_error or ""))
    assert seen.peers["r1"].last_error == (
        "the source-address 10.99.0.77 is no usable address of this node: no connection can come to it"
    )
    assert (seen.peers["r1"].state, listening(rig)) == (PeerState.IDLE, [])
    rig.in_speaker(f"ip address add {LATE_ADDRESS}/24 dev eth0")
    rig.wait(lambda seen: seen.peers["r1"].state is PeerState.ACTIVE and seen.peers["r1"].last_error is None)
    rig.start_bird(options=CONNECTS, speaker=str(LATE_ADDRESS))
    rig.wait_established()


@pytest.mark.root
def test_passive_on_and_off_resets_that_session_alone(rig: Rig) -> None:
    """The router would take both at any time, so each session is begun by whom the configuration says."""
    connecting_bird(rig, 0)
    rig.start_bird(1)
    rig.configure(neighbor("r1", 0), neighbor("r2", 1))
    rig.wait_established("r1", "r2")
    rig.apply(announce())
    for session, chosen in ((2, passive), (3, neighbor), (4, passive)):
        assert rig.configure(chosen("r1", 0), neighbor("r2", 1)).problem == ""
        rig.wait_established("r1", session=session)
        rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent)
        accepted = rig.in_speaker("ss -Htn state established sport = :179").count(str(ROUTER_ADDRESSES[0]))
        assert accepted == (chosen is passive)
        assert listening(rig) == ([HERE] if chosen is passive else [])
    seen = rig.observe()
    assert (seen.peers["r2"].session, seen.engine_restarts) == (1, {})


@pytest.mark.root
def test_a_passive_peer_that_waits_takes_another_configuration_at_once(rig: Rig) -> None:
    """Not after a session by the old one, and not never."""
    bird = rig.start_bird()  # it waits too
    rig.configure(passive())
    rig.wait(lambda seen: seen.peers["r1"].state is PeerState.ACTIVE)
    rig.configure(passive(hold_time=9))
    rig.configure(neighbor(hold_time=12))
    assert rig.wait_established().peers["r1"].session == 1
    assert "Hold timer:       " in bird.ask("show protocols all speaker")
    assert "/12\n" in bird.ask("show protocols all speaker")


@pytest.mark.root
def test_a_peer_that_was_connected_to_in_vain_is_waited_for(rig: Rig) -> None:
    rig.configure(neighbor())
    rig.wait(lambda seen: seen.peers["r1"].last_error is not None)
    rig.configure(passive())
    rig.wait(lambda seen: seen.peers["r1"].state is PeerState.ACTIVE)
    connecting_bird(rig)
    rig.wait_established()
    assert str(ROUTER_ADDRESSES[0]) in rig.in_speaker("ss -Htn state established sport = :179")


@pytest.mark.root
@pytest.mark.parametrize(
    ("options", "ours", "ttl"),
    [({"ttl_security": True}, "ttl security on;", 255), ({"multihop": True}, "multihop;", 64), ({}, "", 1)],
    ids=["gtsm", "multihop", "direct"],
)
def test_what_is_sent_has_the_ttl_of_that_peer(rig: Rig, options: dict[str, Any], ours: str, ttl: int) -> None:
    """The handshake has 255 for all, which is over before the first message."""
    rig.configure(passive(**options))
    connecting_bird(rig, options=ours)
    rig.wait_established()
    pattern = f"src host {SPEAKER_ADDRESS} and tcp[tcpflags] & tcp-push != 0"
    words = [
        "ip",
        "netns",
        "exec",
        rig.name + "r",
        "timeout",
        "30",
        "tcpdump",
        "-nvl",
        "-c",
        "1",
        "-i",
        "eth0",
        pattern,
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as dump:
        assert dump.stderr is not None
        while "listening on" not in (line := dump.stderr.readline()):
            assert line, "tcpdump ended before it listened"
        rig.apply(announce())
        said, _ = dump.communicate()
    assert f"ttl {ttl}," in said


@pytest.mark.root
def test_without_the_right_to_listen_below_1024_that_peer_alone_is_down(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.start_speaker(under=("setpriv", "--bounding-set=-net_bind_service"))
        rig.start_bird(1)
        rig.configure(passive(), neighbor("r2", 1))
        rig.wait_established("r2")
        seen = rig.wait(lambda seen: "CAP_NET_BIND_SERVICE" in (seen.peers["r1"].last_error or ""))
        assert (seen.peers["r1"].state, seen.engine_restarts) == (PeerState.IDLE, {})
        rig.configure(passive(port=1179), neighbor("r2", 1))
        rig.wait(lambda seen: seen.peers["r1"].state is PeerState.ACTIVE)


@pytest.mark.root
def test_a_changed_key_resets_that_session_alone_and_the_old_key_is_worth_nothing(rig: Rig) -> None:
    """Both peers come to one socket."""
    first = connecting_bird(rig, 0, 'password "one";')
    connecting_bird(rig, 1)
    rig.configure(passive("r1", 0, password=Password("one")), passive("r2", 1))
    rig.wait_established("r1", "r2")
    assert listening(rig) == [HERE]
    rig.configure(passive("r1", 0, password=Password("two")), passive("r2", 1))
    rig.wait(lambda seen: "TCP-MD5" in (seen.peers["r1"].last_error or ""))
    assert "Established" not in first.ask("show protocols all speaker")
    with pytest.raises(TimeoutError):  # a connection without a signature is not even answered
        dial(rig, ROUTER_ADDRESSES[0], 0.5)
    rig.configure(passive("r1", 0, password=Password("one")), passive("r2", 1))
    seen = rig.wait_established("r1", session=2)
    assert (seen.peers["r2"].session, seen.peers["r2"].state, seen.strangers) == (1, PeerState.ESTABLISHED, 0)


@pytest.mark.root
def test_a_router_that_ends_every_session_is_given_longer_each_time(rig: Rig) -> None:
    """As one that we connect to: it would have all routes thousands of times in a minute."""
    rig.start_bird(1)
    rig.configure(passive(), neighbor("r2", 1))
    rig.wait_established("r2")
    rig.wait(lambda seen: seen.peers["r1"].state is PeerState.ACTIVE)
    stop = threading.Event()
    ended = 0

    def flap() -> None:
        nonlocal ended
        while not stop.is_set():
            with contextlib.suppress(OSError), dial(rig, ROUTER_ADDRESSES[0]) as connection:
                connection.sendall(open_message() + KEEPALIVE)
                said = b""
                while KEEPALIVE not in said and (more := connection.recv(4096)):
                    said += more
                connection.sendall(CEASE)
                while connection.recv(4096):
                    pass
                ended += KEEPALIVE in said

    thread = threading.Thread(target=flap)
    began = time.monotonic()
    thread.start()
    try:
        eventually(lambda: ended >= 2, 30)
        end = time.monotonic() + 3
        eventually(lambda: time.monotonic() > end or ended > 50, 30)
    finally:
        stop.set()
        thread.join()
    # At once, then after 0, 1, 2, … s: so many cannot be had in less time, however busy the machine is.
    assert sum(range(ended - 1)) <= time.monotonic() - began
    seen = rig.observe()
    assert (seen.peers["r2"].session, seen.engine_restarts) == (1, {})


@pytest.mark.parametrize(
    "refusal",
    [Refusal(Cause.STRANGER, "2001:db8::1", 17), Refusal(Cause.LOW_TTL, "10.0.0.2", 1)],
    ids=lambda r: r.cause,
)
def test_both_ends_of_the_log_agree_on_refusals(refusal: Refusal) -> None:
    assert Refusal.parse(refusal.line()) == refusal
    assert Refusal.parse("x " + refusal.line()) is None
    assert Refusal.parse(refusal.line().replace(refusal.cause, "weather")) is None
