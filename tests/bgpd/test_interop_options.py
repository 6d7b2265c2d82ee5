"""TCP-MD5, GTSM and multihop against BIRD, FRR and GoBGP: right, wrong and missing on either side, and what is said.

With GoBGP everything goes over IPv6.

Every refusal is shown against the same router with the same lab, where the right options bring the session up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from announcer.model.bgp import Password, PeerObserved, PeerState
from announcer.model.steps import Announce
from tests.bgpd.interop import Interop, interop, neighbor, route
from tests.lab import Lab, SessionOptions, until

pytestmark = [pytest.mark.root, pytest.mark.lab]

VIP, VIP6 = "203.0.113.10/32", "2001:db8:203::10/128"
SECRET = "canary-8fK#;{}\\x"
OTHER = "canary-other-2Qz"


OVER_IPV6 = SessionOptions(transport="ipv6", families=("ipv6",))


@pytest.fixture(scope="module", params=["bird", "frr", "gobgp"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    session = OVER_IPV6 if request.param == "gobgp" else SessionOptions()
    with Lab(request.param, nodes=1, pods=1, session=session) as made:
        node = made.nodes[0]
        made.router.run(["ip", "route", "add", node.pod_cidr, "via", node.address])
        made.router.run(["ip", "route", "add", node.pod_cidr6, "via", node.address6])
        yield made


def says(made: Interop, words: str) -> str:
    """Wait until the peer has no session and these words say why; all of them.

    A router may set the option after it took the connection. What came before that got through, now and then all that
    a session needs; it ends when the hold time of 30 s is over.
    """

    def kept_away(peer: PeerObserved) -> bool:
        return words in (peer.last_error or "") and peer.state is not PeerState.ESTABLISHED

    peer = made.wait(kept_away, f"no session and an error with {words!r}", 120)
    return peer.last_error or ""


def router_takes_another_key(lab: Lab, made: Interop) -> None:
    """The session goes, and what keeps it away is named."""
    lab.router.stop()
    made.wait(lambda peer: peer.state is not PeerState.ESTABLISHED, "the session is gone")
    plan = lab.router.plan
    lab.router.configure(dataclasses.replace(plan, session=dataclasses.replace(plan.session, password=OTHER)))
    lab.router.start()
    says(made, "TCP-MD5")


def deliver(made: Interop) -> None:
    """The session works: a route arrives."""
    vip = VIP6 if made.lab.plan.session == OVER_IPV6 else VIP
    made.apply(Announce(lane="x", peer="r", route=route(vip)))
    until(lambda: vip in made.router.rib(), "the router has the route")


@pytest.mark.parametrize("internal", [False, True], ids=["ebgp", "ibgp"])
def test_the_same_password_on_both_sides(lab: Lab, internal: bool) -> None:
    asn = 64600 if internal else 64512
    with interop(lab, asn=asn, password="p&ss#word;{}") as made:
        made.configure(neighbor(lab, asn=asn, password=Password("p&ss#word;{}")))
        made.wait_established()
        deliver(made)
        assert made.peer().last_error is None


def test_another_password(lab: Lab) -> None:
    with interop(lab, password=OTHER) as made:
        made.configure(neighbor(lab, password=Password(SECRET)))
        assert says(made, "TCP-MD5").count("password") == 1
        # Mended, it comes up by itself, and the error goes.
        made.configure(neighbor(lab, password=Password(OTHER)))
        assert made.wait_established(seconds=30).last_error is None
        deliver(made)


def test_a_password_on_our_side_only(lab: Lab) -> None:
    with interop(lab) as made:
        made.configure(neighbor(lab, password=Password(SECRET)))
        says(made, "TCP-MD5")
        made.configure(neighbor(lab))
        made.wait_established(seconds=30)


def test_a_password_on_their_side_only(lab: Lab) -> None:
    with interop(lab, password=OTHER) as made:
        made.configure(neighbor(lab))
        says(made, "TCP-MD5 password")
        assert made.router.sessions() == {made.local: "Active"}


def test_a_password_that_the_router_changes_under_a_session(lab: Lab) -> None:
    """As after a key was changed at one end: the session goes, and what keeps it away is named."""
    with interop(lab, password=SECRET.replace("\\", "")) as made:
        made.configure(neighbor(lab, password=Password(SECRET.replace("\\", "")), hold_time=9))
        made.wait_established()
        router_takes_another_key(lab, made)


def test_ttl_security_on_both_sides_and_on_neither(lab: Lab) -> None:
    for on in (True, False):
        with interop(lab, ttl_security=on) as made:
            made.configure(neighbor(lab, ttl_security=on))
            made.wait_established()
            deliver(made)


def test_ttl_security_on_our_side_only(lab: Lab) -> None:
    with interop(lab, ttl_security=False) as made:
        made.configure(neighbor(lab, ttl_security=True))
        says(made, "GTSM")


#: A router sets the option when it has taken the connection, and has then missed, every other time, an OPEN that was
#: there at once; the half of a session that this makes stands for its hold time, and BIRD waits for a minute more. This
#: does from the beginning what the option does a moment later. A segment without data has at most 60 and 80 bytes.
_FROM_THE_BEGINNING = """
table inet from-the-beginning {
  chain in {
    type filter hook input priority filter;
    tcp dport 179 ip ttl < 255 meta length > 60 drop
    tcp dport 179 ip6 hoplimit < 255 meta length > 80 drop
  }
}
"""


@contextlib.contextmanager
def option_from_the_beginning(lab: Lab) -> Iterator[None]:
    lab.router.run(["nft", "-f", "-"], input=_FROM_THE_BEGINNING)
    try:
        yield
    finally:
        lab.router.run(["nft", "delete", "table", "inet", "from-the-beginning"])


def test_ttl_security_on_their_side_only(lab: Lab) -> None:
    with option_from_the_beginning(lab), interop(lab, ttl_security=True) as made:
        made.configure(neighbor(lab, ttl_security=False))
        says(made, "TTL security (GTSM)")


def test_multihop(lab: Lab) -> None:
    with interop(lab, behind=True, multihop=True) as made:
        made.configure(neighbor(lab, ttl_security=False, multihop=True))
        made.wait_established()
        deliver(made)


def test_a_direct_session_does_not_leave_its_link(lab: Lab) -> None:
    """Without multihop the speaker sends with TTL 1, and the node in between lets that go no further."""
    with interop(lab, behind=True, multihop=True) as made:
        made.configure(neighbor(lab, ttl_security=False, multihop=False))
        says(made, "multihop")
        assert made.router.sessions() == {made.local: "Active"}


def test_the_password_is_nowhere_but_in_the_configuration(lab: Lab) -> None:
    """Everything that a speaker with a right and then a wrong password writes, says, and shows of itself."""
    with interop(lab, password=OTHER) as made:
        made.configure(neighbor(lab, password=Password(OTHER)))
        made.wait_established()
        deliver(made)
        said = [raw_observation(made)]
        made.configure(neighbor(lab, password=Password(SECRET)))
        says(made, "TCP-MD5")
        said += [raw_observation(made), repr(made.observe()), made.log]
        processes = children(made.speaker.pid)
        assert len(processes) == 3, "speaker, ExaBGP, relay"
        for pid in processes:
            said += [Path(f"/proc/{pid}/{file}").read_bytes().decode() for file in ("cmdline", "environ", "comm")]
            assert Path(f"/proc/{pid}/coredump_filter").read_text().strip("0\n") == ""
        assert len("".join(said)) > 5000
        for text in said:
            assert SECRET[:10] not in text
        holders = [
            file for file in made.state_dir.rglob("*") if file.is_file() and SECRET[:10].encode() in file.read_bytes()
        ]
        assert holders == [made.state_dir / "exabgp.conf"]
        assert holders[0].stat().st_mode & 0o777 == 0o600
        assert made.state_dir.stat().st_mode & 0o777 == 0o700


def test_an_agent_sees_what_it_configured_and_a_new_one_configures_again_for_nothing(lab: Lab) -> None:
    with interop(lab, password=OTHER) as made:
        wanted = neighbor(lab, password=Password(OTHER))
        made.configure(wanted)
        made.wait_established()
        assert made.peer().neighbor == wanted
        made.new_agent()
        assert made.peer().neighbor != wanted
        made.configure(wanted)
        assert made.peer().neighbor == wanted
        deliver(made)
        assert made.peer().session == 1


def raw_observation(made: Interop) -> str:
    """What the speaker answers to somebody who only looks, as it comes over the socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(made.state_dir / "speaker.sock"))
        asking.sendall(b'{"request": {"type": "observe", "id": 1}}\n')
        answer = next(line for line in asking.makefile("rb") if b'"observed"' in line)
    assert b'"hold_time"' in answer
    return answer.decode()


def children(pid: int) -> list[int]:
    """``pid`` and all that it has started."""
    found = [pid]
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += children(int(number))
    return found
