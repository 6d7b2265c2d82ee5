"""BFD: what bfdd is told and says, what follows for the session, and all of it against a BIRD and an FRR."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.bgp import BfdProfile, Neighbor, PeerState
from announcer.model.steps import Announce
from bgpd.bfd import BfdChange, BfdSession, BfdState, Notifications, commands
from bgpd.bfdd import Bfd
from bgpd.core import Core, Now
from bgpd.protocol import StateChanged
from tests.bgpd.interop import Interop, interop, neighbor, route
from tests.kube.virtual_time import run_virtually
from tests.lab import Lab, until
from tests.lab.lab import RouterKind

#: As the lab's routers have it: five seconds.
FAST = BfdProfile(receive_interval=100, transmit_interval=100, detect_multiplier=50)
PEER, LOCAL = ip_address("10.0.0.1"), ip_address("10.0.0.2")
ONE = BfdSession(PEER, LOCAL, multihop=False, profile=FAST)
FAR = BfdSession(
    ip_address("2001:db8::1"), ip_address("2001:db8::2"), multihop=True, profile=BfdProfile(minimum_ttl=250)
)
NOW = Now(0.0, 0.0)


def test_a_session_begins_changes_and_ends() -> None:
    begin = ["enable", "configure terminal", "bfd"]
    settings = ["transmit-interval 100", "detect-multiplier 50", "no passive-mode"]
    echo = ["echo transmit-interval 50", "echo receive-interval 50", "no echo-mode"]
    name = "peer 10.0.0.1 local-address 10.0.0.2"
    assert commands(frozenset(), frozenset({ONE})) == [
        *begin, name, "receive-interval 100", *settings, *echo, "exit", "end",
    ]  # fmt: skip
    slower = msgspec.structs.replace(ONE, profile=msgspec.structs.replace(FAST, receive_interval=900))
    assert commands(frozenset({ONE}), frozenset({slower})) == [
        *begin, name, "receive-interval 900", *settings, *echo, "exit", "end",
    ]  # fmt: skip
    assert commands(frozenset({ONE}), frozenset()) == [*begin, f"no {name}", "end"]
    assert commands(frozenset({ONE}), frozenset({ONE})) == []


def test_several_hops_have_a_least_ttl_and_no_echo() -> None:
    lines = commands(frozenset(), frozenset({FAR}))
    assert "peer 2001:db8::1 multihop local-address 2001:db8::2" in lines
    assert "minimum-ttl 250" in lines
    assert not any("echo" in line for line in lines)


#: As bfdd 8.4 writes them: length, id, type, version, then JSON.
STATUS = b'{"op":"status","peer-address":"10.0.0.1","local-address":"10.0.0.2","state":"down","downtime":0}'
MESSAGES = [(1, b'{"status":"ok"}'), (4, b'{"op":"add","peer-address":"10.0.0.1"}'), (4, STATUS)]
STREAM = b"".join(struct.pack("!IHBB", len(body), 0, kind, 1) + body for kind, body in MESSAGES)


@given(st.lists(st.integers(0, 3 * len(STREAM)), max_size=20))
def test_changes_are_found_however_the_stream_is_cut(cuts: list[int]) -> None:
    notifications, found = Notifications(), []
    places = sorted({*cuts, 0, 3 * len(STREAM)})
    for start, end in pairwise(places):
        found += notifications.receive((STREAM * 3)[start:end])
    assert found == [BfdChange(PEER, BfdState.DOWN)] * 3


@given(st.binary(max_size=100))
def test_what_is_no_bfdd_raises_value_error_or_nothing(data: bytes) -> None:
    notifications = Notifications()
    try:
        notifications.receive(data)
        notifications.receive(struct.pack("!IHBB", len(data), 0, 4, 1) + data)
    except (ValueError, msgspec.DecodeError):
        return


def established(bfd: BfdProfile | None = FAST) -> Core:
    core = Core()
    core.set_neighbors([Neighbor(name="r", address=PEER, peer_asn=1, local_asn=2, bfd=bfd)], NOW)
    core.engine_connected(NOW)
    core.peers["r"].state_changed(StateChanged(PEER, "up", local=LOCAL), now=0.0, wall=0.0)
    return core


TEARDOWN = b"neighbor 10.0.0.1 teardown 10\n"


def test_a_session_that_was_up_and_goes_down_takes_bgp_with_it() -> None:
    core = established()
    core.bfd_changed(PEER, BfdState.UP)
    assert core.commands(NOW) == b""
    core.bfd_changed(PEER, BfdState.DOWN)
    assert core.commands(NOW) == TEARDOWN
    assert core.commands(NOW) == b"", "once"
    core.receive(b"done\n", NOW)
    assert core.owed == 0


@pytest.mark.parametrize("before", [BfdState.UNKNOWN, BfdState.INIT, BfdState.DOWN, BfdState.ADMIN_DOWN])
def test_a_session_that_never_was_up_does_not(before: BfdState) -> None:
    """The router does not run BFD, or not yet."""
    core = established()
    core.bfd_changed(PEER, before)
    core.bfd_changed(PEER, BfdState.DOWN)
    assert core.commands(NOW) == b""


def test_neither_does_the_end_of_the_daemon_nor_a_neighbor_without_bfd() -> None:
    core = established()
    core.bfd_changed(PEER, BfdState.UP)
    core.bfd_unknown("it ended")
    assert core.commands(NOW) == b""
    assert core.peers["r"].observed().bfd == "unknown"
    core = established(None)
    for state in (BfdState.UP, BfdState.DOWN):
        core.bfd_changed(PEER, state)
    assert core.commands(NOW) == b""
    assert core.peers["r"].observed().bfd is None


def test_another_profile_leaves_the_session_alone() -> None:
    core = established()
    core.bfd_changed(PEER, BfdState.UP)
    peer = core.peers["r"]
    core.set_neighbors([msgspec.structs.replace(peer.neighbor, bfd=BfdProfile())], NOW)
    assert core.peers["r"] is peer
    assert (peer.neighbor.bfd, peer.bfd, peer.established) == (BfdProfile(), BfdState.UP, True)


async def _let_run(seconds: float = 0.0) -> None:
    """Virtual ones: whatever is due meanwhile is done."""
    await asyncio.sleep(seconds)
    await asyncio.sleep(0)


def test_nobody_looks_for_bfd_that_no_neighbor_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first neighbor that has it a daemon runs, at once."""
    looks, daemons = [0], list[frozenset[BfdSession]]()

    class Watched(Bfd):
        def _wanted(self) -> frozenset[BfdSession]:
            looks[0] += 1
            return super()._wanted()

        async def _one_daemon(self) -> str:
            daemons.append(super()._wanted())
            return "it is none"

    monkeypatch.setattr("bgpd.bfdd.source_toward", lambda *_: LOCAL)
    monkeypatch.setattr("bgpd.bfdd.on_link", lambda *_: True)

    async def main() -> None:
        core = established(None)
        bfd = Watched(tmp_path, core, lambda: None)
        running = asyncio.create_task(bfd.run())
        bfd.follow()
        await _let_run(100)
        assert looks == [0]
        core.set_neighbors([msgspec.structs.replace(core.peers["r"].neighbor, bfd=FAST)], NOW)
        bfd.follow()
        await _let_run()
        assert daemons == [frozenset({ONE})]
        await _let_run(10)
        assert len(daemons) > 2, "one that ends is started again"
        core.set_neighbors([msgspec.structs.replace(core.peers["r"].neighbor, bfd=None)], NOW)
        bfd.follow()
        await _let_run(10)
        before = looks[0]
        await _let_run(100)
        assert looks == [before]
        running.cancel()

    run_virtually(main())


# --- against routers --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["bird", "frr"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    kind: RouterKind = request.param
    with Lab(kind, nodes=1, pods=0) as made:
        yield made


def cut(lab: Lab) -> None:
    """Nothing gets through any more, and no carrier is lost that anybody could notice."""
    lab.router.run(["ip", "link", "set", lab.nodes[0].name, "nomaster"])


def mend(lab: Lab) -> None:
    lab.router.run(["ip", "link", "set", lab.nodes[0].name, "master", "lan"])


def come_up(made: Interop, bfd: BfdProfile | None, transport: str) -> None:
    made.configure(plain(made, transport, bfd))
    made.wait_established()


def plain(made: Interop, transport: str, bfd: BfdProfile | None) -> Neighbor:
    """Without GTSM: with it FRR's bgpd asks for BFD over several hops (``show bfd peers``), whatever the peer is."""
    return neighbor(made.lab, transport=transport, hold_time=90, bfd=bfd, ttl_security=False)


@pytest.mark.root
@pytest.mark.lab
@pytest.mark.parametrize("transport", ["ipv4", "ipv6"])
def test_a_cut_link_ends_the_session_long_before_its_hold_time(lab: Lab, transport: str) -> None:
    with interop(lab, bfd=True, transport=transport, families=(transport,), ttl_security=False) as made:
        come_up(made, FAST, transport)
        made.wait(lambda peer: peer.bfd == "up", "BFD is up", 30)
        cut(lab)
        try:
            down = made.wait(lambda peer: peer.state is not PeerState.ESTABLISHED, "the session ends", 30)
            assert "BFD" in (down.last_error or "")
            until(lambda: "Established" not in lab.router.sessions().values(), "the router's end too", 30)
        finally:
            mend(lab)
        made.wait(lambda peer: peer.state is PeerState.ESTABLISHED and peer.bfd == "up", "all is well again", 60)
        # Another profile: the BGP session is not touched, and BFD goes on.
        session = made.peer().session
        made.configure(plain(made, transport, msgspec.structs.replace(FAST, transmit_interval=150)))
        until(lambda: "transmit-interval 150" in bfdd_configuration(made), "bfdd has the other timers")
        assert (made.peer().session, made.peer().bfd) == (session, "up")
        # A speaker that is killed leaves no daemon behind: the router would take its word for the speaker's.
        folder = bfdd_folder(made)
        made.kill_speaker()
        until(lambda: folder not in made.host.run(["ps", "-ww", "--no-headers", "-eo", "args"]).stdout, "bfdd ended")
        assert not Path(folder).exists()


@pytest.mark.root
@pytest.mark.lab
def test_a_profile_that_goes_takes_bfd_and_not_the_session(lab: Lab) -> None:
    with interop(lab, bfd=True, ttl_security=False) as made:
        come_up(made, FAST, "ipv4")
        made.wait(lambda peer: peer.bfd == "up" and peer.state is PeerState.ESTABLISHED, "BFD is up", 30)
        session = made.peer().session
        made.configure(plain(made, "ipv4", None))
        until(lambda: "peer" not in bfdd_configuration(made), "bfdd has no session any more")
        assert made.peer().bfd is None
        # The router may end it as BFD ends; we do not.
        assert made.peer().session >= session
        assert "teardown" not in made.log


@pytest.mark.root
@pytest.mark.lab
def test_without_it_the_same_cut_goes_unnoticed(lab: Lab) -> None:
    """The control."""
    with interop(lab, ttl_security=False) as made:
        come_up(made, None, "ipv4")
        cut(lab)
        try:
            made.apply(Announce(lane="x", peer="r", route=route("203.0.113.10/32")))
            # Sent again five times, so for some six seconds, which is longer than BFD would have taken.
            until(lambda: backoff(made) >= 5, "nothing gets through", 60)
            assert made.peer().state is PeerState.ESTABLISHED
        finally:
            mend(lab)


def backoff(made: Interop) -> int:
    """How often what the session has sent was sent again."""
    found = re.search(r"backoff:(\d+)", made.host.run(["ss", "-Htino", "dport = :179"]).stdout)
    return int(found[1]) if found else 0


def bfdd_configuration(made: Interop) -> str:
    folder = bfdd_folder(made)
    argv = ["vtysh", "--vty_socket", folder, "--config_dir", folder, "-c", "show running-config"]
    return made.host.run(argv, check=False).stdout


def bfdd_folder(made: Interop) -> str:
    """Where the daemon below the speaker has its sockets."""
    found = made.host.run(["ps", "-ww", "--no-headers", "-eo", "ppid,args"]).stdout.splitlines()
    (holder,) = (line for line in found if line.split()[0] == str(made.speaker.pid) and "bfd_child" in line)
    return holder.split("--vty_socket ")[1].split()[0]
