"""A peer that talks nonsense ends neither the speaker nor ExaBGP, and no other peer notices."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from announcer.model.bgp import PeerState
from bgpd import wire
from tests.bgpd.malformed import headers, odd_opens, opens, others, updates
from tests.bgpd.plain import plain_engine
from tests.bgpd.rig import ROUTER_ADDRESSES, SPEAKER_ADDRESS, Bird, Rig, eventually, neighbor
from tests.bgpd.scripted import KEEPALIVE, ScriptedPeer, neighbor_at
from tests.bgpd.test_lifetime import VIP, announce

pytestmark = pytest.mark.root

HOLD_TIME = 9
UPDATE_ERROR = 3
#: ExaBGP takes these, which costs nobody anything; RFC 4271 section 6.2 would have them refused.
LET_PASS = {"open: options longer than the message", "open: OPEN of 4096 bytes"}
#: No NOTIFICATION: ExaBGP 5.0 has none for a type that it uses itself for "nothing was received".
CLOSED_WITHOUT_A_WORD = {"header: type 0"}


def start_peers(rig: Rig) -> dict[str, ScriptedPeer]:
    """One for each case but the UPDATEs, which one peer sends all in a row. Every fifth ends with RST."""
    cases = {"update: all of them": (b"".join(updates().values()), True)}
    cases |= {f"header: {name}": (bad, True) for name, bad in headers().items()}
    cases |= {f"other: {name}": (bad, True) for name, bad in others().items()}
    cases |= {f"open: {name}": (bad + KEEPALIVE, False) for name, bad in opens().items()}
    cases |= {f"odd: {name}": (odd + KEEPALIVE, False) for name, odd in odd_opens().items()}
    made = {}
    for number, (name, (bad, established)) in enumerate(cases.items()):
        reset = number % 5 == 4 and not name.startswith("odd")
        made[name] = ScriptedPeer(rig, f"10.99.0.{100 + number}", bad, established=established, reset=reset)
    return made


def test_nobody_is_disturbed_by_peers_that_talk_nonsense(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.start_speaker()
        bird = rig.start_bird()
        peers = start_peers(rig)
        rig.configure(neighbor(hold_time=HOLD_TIME))
        rig.wait_established()
        rig.apply(announce())
        eventually(lambda: str(VIP) in bird.routes())
        engine, capture, began = rig.exabgp_pid(), rig.capture(str(ROUTER_ADDRESSES[0])), time.time()
        bad_ones = [neighbor_at(peer.address, name=name) for name, peer in peers.items()]
        rig.configure(neighbor(hold_time=HOLD_TIME), *bad_ones)
        eventually(lambda: all(peer.said for peer in peers.values()), 60, "all have said it")
        enough = time.time() + 1.5 * HOLD_TIME
        eventually(lambda: time.time() > enough, 3 * HOLD_TIME, "somebody who was disturbed would have no session now")
        seen = rig.observe()
        caught = capture.stop()
        for peer in peers.values():
            peer.stop()

        assert seen.engine_restarts == {}
        assert rig.exabgp_pid() == engine
        good = seen.peers["r1"]
        assert (good.state, good.session) == (PeerState.ESTABLISHED, 1)
        assert good.rib[VIP].sent
        assert_undisturbed(bird)
        ends = (str(SPEAKER_ADDRESS), str(ROUTER_ADDRESSES[0]))
        ours = [message for message in caught if (message.source, message.destination) == ends]
        assert {message.kind for message in ours} == {wire.KEEPALIVE}
        times = [began, *(message.time for message in ours)]
        assert max(later - earlier for earlier, later in pairwise(times)) < HOLD_TIME
        for name, scripted in peers.items():
            said = seen.peers[name]
            if name.startswith("open") and name not in LET_PASS:
                assert said.session == 0, (name, said.last_error)
            elif name.startswith(("update", "odd")):
                assert (said.state, said.session) == (PeerState.ESTABLISHED, 1), (name, said.last_error)
            elif name.startswith("header") and not scripted.resets and name not in CLOSED_WITHOUT_A_WORD:
                assert {code for code, _ in scripted.notifications} == {1}, name


def assert_undisturbed(bird: Bird) -> None:
    """It has the route, from the one session that it ever had."""
    assert str(VIP) in bird.routes()
    assert bird.log().count("BGP session established") == 1


def test_control_an_exabgp_that_reads_updates_ends_the_session(tmp_path: Path) -> None:
    """What keeps the session is that nobody decodes UPDATEs: we take no routes."""
    with Rig(tmp_path) as rig:
        peer = ScriptedPeer(rig, "10.99.0.100", b"".join(updates().values()), established=True)
        with plain_engine(rig, neighbor_at(peer.address, name="bad"), ("adj-rib-in false", "adj-rib-in true")):
            eventually(lambda: UPDATE_ERROR in {code for code, _ in peer.notifications}, 30)
        peer.stop()
