"""Neighbors added, changed and removed while others hold sessions and routes; refused configurations."""

from __future__ import annotations

import asyncio
import os
import signal
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from announcer.model.bgp import Password, PeerState, Route
from announcer.model.errors import TargetError
from announcer.model.observed import OutcomeState
from announcer.model.steps import Announce, EndOfRib
from bgpd.validation import validate
from tests.bgpd.rig import Rig, eventually, neighbor, states

pytestmark = pytest.mark.root

VIP = IPv4Network("203.0.113.10/32")
KEEPALIVE = 4


def announce(peer: str, nlri: IPv4Network = VIP) -> Announce:
    return Announce(lane=str(nlri), peer=peer, route=Route(nlri=nlri))


def test_a_change_of_one_neighbor_leaves_the_other_alone(rig: Rig) -> None:
    first, second = rig.start_bird(0), rig.start_bird(1)
    rig.configure(neighbor("r1", 0))
    rig.wait_established("r1")
    rig.apply(announce("r1"), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)

    first.settle()
    capture = rig.capture()
    assert rig.configure(neighbor("r1", 0), neighbor("r2", 1)).state is OutcomeState.DONE
    rig.wait_established("r1", "r2")
    rig.apply(announce("r2"))
    rig.wait(lambda seen: seen.peers["r2"].rib[VIP].sent)

    assert rig.configure(neighbor("r1", 0), neighbor("r2", 1, hold_time=12)).state is OutcomeState.DONE
    seen = rig.wait_established("r2", session=2)
    rig.wait(lambda seen: seen.peers["r2"].rib[VIP].sent)
    eventually(lambda: str(VIP) in second.routes())
    assert seen.peers["r1"].session == 1

    assert rig.configure(neighbor("r1", 0)).state is OutcomeState.DONE
    assert set(rig.observe().peers) == {"r1"}
    eventually(lambda: second.routes() == {})

    # After three reloads r1 still has its session, and it still works.
    other = IPv4Network("203.0.113.11/32")
    caught = capture.stop()
    with_first = [message for message in caught if "10.99.0.2" in (message.source, message.destination)]
    assert {message.kind for message in with_first} <= {KEEPALIVE}
    assert len(caught) > len(with_first), "the capture saw the other sessions"
    rig.apply(announce("r1", other))
    rig.wait(lambda seen: seen.peers["r1"].rib[other].sent)
    eventually(lambda: set(first.routes()) == {str(VIP), str(other)})
    assert rig.peer("r1").session == 1
    assert first.log().count("BGP session established") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"password": Password("secret")},
        {"ttl_security": True},
        {"multihop": True},
        {"graceful_restart": 120},
        {"local_address": None},
        {"router_id": IPv4Address("10.0.0.9")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_option_of_one_neighbor_resets_its_session_and_no_other(rig: Rig, change: dict[str, Any]) -> None:
    first, second = rig.start_bird(0), rig.start_bird(1)
    rig.configure(neighbor("r1", 0), neighbor("r2", 1))
    before = rig.wait_established("r1", "r2").peers["r1"]
    # A router may be the later one to know of it.
    eventually(lambda: second.log().count("BGP session established") == 1)
    assert rig.configure(neighbor("r1", 0), neighbor("r2", 1, **change)).state is OutcomeState.DONE
    eventually(lambda: "State changed to stop" in second.log() or "Connection closed" in second.log(), what="a reset")
    if change.keys() & {"password", "ttl_security"}:  # this BIRD has neither
        rig.wait(lambda seen: seen.peers["r2"].state is not PeerState.ESTABLISHED)
    else:
        rig.wait_established("r2", session=2)
        eventually(lambda: second.log().count("BGP session established") == 2)
    after = rig.peer("r1")
    assert (after.session, after.since) == (1, before.since)
    assert first.log().count("BGP session established") == 1
    rig.apply(announce("r1"))
    eventually(lambda: str(VIP) in first.routes())


def test_a_renamed_neighbor_keeps_its_session(rig: Rig) -> None:
    rig.start_bird()
    rig.configure(neighbor("r1"))
    rig.wait_established()
    rig.apply(announce("r1"))
    assert rig.configure(neighbor("core-1")).state is OutcomeState.DONE
    peer = rig.peer("core-1")
    assert (peer.state, peer.session, set(peer.rib)) == (PeerState.ESTABLISHED, 1, {VIP})


def test_the_last_neighbor_removed_and_back(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    rig.apply(announce("r1"))
    eventually(lambda: str(VIP) in bird.routes())
    assert rig.configure().state is OutcomeState.DONE
    eventually(lambda: bird.routes() == {})
    assert rig.configure(neighbor()).state is OutcomeState.DONE
    assert rig.wait_established().peers["r1"].rib == {}


def test_a_refused_reload_is_healed(rig: Rig) -> None:
    """ExaBGP 5.0.15 refuses every valid file after one that it refused; only a new process helps."""
    first, second = rig.start_bird(0), rig.start_bird(1)
    rig.configure(neighbor("r1", 0))
    rig.wait_established("r1")
    rig.apply(announce("r1"), EndOfRib(lane="r1", peer="r1", session=1))
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1)
    poisoned = rig.exabgp_pid()
    configuration = rig.state_dir / "exabgp.conf"
    good = configuration.read_text()
    configuration.write_text(good + "nonsense secret-canary;\n")
    os.kill(poisoned, signal.SIGUSR1)
    eventually(lambda: "could not load/reload" in (rig.state_dir / "speaker.log").read_text())
    configuration.write_text(good)

    assert rig.configure(neighbor("r1", 0), neighbor("r2", 1)).state is OutcomeState.DONE
    rig.wait_established("r1", "r2")
    rig.apply(announce("r2"))
    eventually(lambda: str(VIP) in first.routes() and str(VIP) in second.routes())
    rig.wait(lambda seen: seen.peers["r1"].end_of_rib == seen.peers["r1"].session)
    assert rig.exabgp_pid() != poisoned
    log = (rig.state_dir / "speaker.log").read_text()
    assert "restart 1" in log
    assert "secret-canary" not in log


def test_a_neighbor_that_comes_while_exabgp_starts_is_run(rig: Rig) -> None:
    """It has read the file of before by then."""
    rig.start_bird(0)
    rig.start_bird(1)
    rig.configure(neighbor("r1", 0))
    rig.wait_established("r1")
    os.kill(killed := rig.exabgp_pid(), signal.SIGKILL)
    eventually(lambda: rig.observe().engine_restarts != {} and rig.exabgp_pids() not in ([], [killed]))
    assert rig.configure(neighbor("r1", 0), neighbor("r2", 1)).state is OutcomeState.DONE
    rig.wait_established("r1", "r2")


def test_a_configuration_that_exabgp_refuses_never_reaches_it(rig: Rig) -> None:
    rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    pid = rig.exabgp_pid()
    before = (rig.state_dir / "exabgp.conf").read_text()
    # Nothing that passes our own checks is known to be refused, so have ExaBGP's reading of the file fail otherwise.
    (rig.state_dir / "exabgp.new").mkdir()
    outcome = rig.configure(neighbor(), neighbor("r2", 1))
    assert outcome.state is OutcomeState.FAILED
    assert (rig.state_dir / "exabgp.conf").read_text() == before
    assert set(rig.observe().peers) == {"r1"}
    assert (rig.exabgp_pid(), rig.peer().session) == (pid, 1)
    (rig.state_dir / "exabgp.new").rmdir()
    assert rig.configure(neighbor(), neighbor("r2", 1)).state is OutcomeState.DONE


def test_validation_names_the_line_and_not_the_text(tmp_path: Path) -> None:
    file = tmp_path / "exabgp.conf"
    file.write_text("neighbor 10.0.0.1 {\n    secret-canary 5;\n}\n")
    with pytest.raises(TargetError) as raised:
        asyncio.run(validate(file))
    assert not raised.value.retry
    assert "line 2" in str(raised.value)
    assert "secret-canary" not in str(raised.value)


def test_what_this_release_cannot_run_is_refused_with_words(rig: Rig) -> None:
    ipv6 = rig.configure(neighbor(local_address=IPv6Address("fe80::1")))
    assert (ipv6.state, ipv6.retry) == (OutcomeState.FAILED, False)
    assert "link-local" in ipv6.problem
    twice = rig.configure(neighbor("a"), neighbor("b"))
    assert twice.state is OutcomeState.FAILED
    assert "same name or the address" in twice.problem
    assert "no neighbor nobody" in rig.apply(announce("nobody"))[0].problem


def test_a_neighbor_without_a_route_waits_and_does_not_stop_the_others(rig: Rig) -> None:
    bird = rig.start_bird(0)
    far = msgspec.structs.replace(neighbor("far", local_address=None), address=IPv4Address("192.0.2.9"))
    assert rig.configure(neighbor("r1", 0), far).state is OutcomeState.DONE
    rig.wait_established("r1")
    rig.apply(announce("r1"))
    eventually(lambda: str(VIP) in bird.routes())
    last_error = rig.peer("far").last_error
    assert last_error is not None
    assert "Network is unreachable" in last_error


def test_routes_for_a_peer_with_another_asn_say_why(rig: Rig) -> None:
    rig.start_bird(asn=64999)
    rig.configure(neighbor())
    seen = rig.wait(lambda seen: "Bad Peer AS" in (seen.peers["r1"].last_error or ""))
    assert seen.peers["r1"].state is not PeerState.ESTABLISHED
    assert states(rig.apply(announce("r1"))) == {"done"}
