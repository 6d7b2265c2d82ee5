"""What the cluster is told: the right thing, by one node, and not too often."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from announcer.model.bgp import PeerState
from announcer.model.errors import ConfigProblem
from announcer.model.objects import Kind, ObjectKey
from announcer.snapshot import ConfigState, Snapshot, take_config
from announcer.status.bulletin import Bulletin
from announcer.status.notices import About, Notice, notices
from announcer.status.report import status
from announcer.status.sight import Sight
from announcer.status.tellers import ring_of
from tests.announcer.build import endpoints, node, service, snapshot
from tests.announcer.status.test_status import ALL_WELL, sight, with_peer, working
from tests.announcer.test_plan import PEER
from tests.announcer.test_planner import node_of

WEB = About(Kind.SERVICE, ObjectKey("default", "web"), "announcement")
THING = About(Kind.NODE, ObjectKey("", "n1"), "peer x")


def about(subject: str) -> About:
    return About(Kind.NODE, ObjectKey("", "n1"), subject)


def test_all_well_is_told_as_such() -> None:
    found = notices(sight(working(), ALL_WELL))
    assert found[WEB].reason == "Announced"
    assert found[about(f"peer {PEER}")].reason == "PeerEstablished"
    assert not [notice for notice in found.values() if notice.warning]


def test_what_is_wrong_everywhere_is_told_on_the_service() -> None:
    found = notices(sight(snapshot(node(), service(), endpoints("web", "1.1.1.1", ready=False)), ALL_WELL))
    assert (found[WEB].reason, found[WEB].warning) == ("NoEndpoints", True)


def test_one_node_of_many_tells_it_and_all_agree_which() -> None:
    nodes = [node(f"n{number}") for number in range(1, 30)]
    world = snapshot(*nodes, service(), endpoints("web", "10.244.1.10", ready=False))
    tellers = [
        one.key.name
        for one in nodes
        if WEB in notices(sight(msgspec.structs.replace(world, node_name=one.key.name), ALL_WELL))
    ]
    assert len(tellers) == 1


def test_what_is_wrong_here_is_told_on_the_node() -> None:
    found = notices(sight(working(), with_peer(ALL_WELL, state=PeerState.ACTIVE, last_error="refused")))
    notice = found[about(f"peer {PEER}")]
    assert (notice.reason, notice.warning) == ("PeerDown", True)
    assert "refused" in notice.message
    assert WEB not in found


def test_a_wrong_configuration_is_a_warning_that_says_what_stays() -> None:
    seen = working()
    problem = ConfigProblem(path="peers[0].my-asn", problem="is missing")
    stale = msgspec.structs.replace(seen, config=take_config(seen.config, None, (problem, problem)))
    notice = notices(sight(stale, ALL_WELL))[about("config")]
    assert stale.config.state is ConfigState.STALE
    assert notice.reason == "ConfigStale"
    assert "my-asn" in notice.message
    assert "(and 1 more)" in notice.message
    assert "last good" in notice.message


def test_nothing_is_told_of_services_before_the_first_state() -> None:
    found = notices(sight(Snapshot(revision=0, node_name="n1"), ALL_WELL))
    assert not [one for one in found if one.kind is Kind.SERVICE]


def test_what_is_well_when_the_agent_starts_is_no_news_but_trouble_is() -> None:
    bulletin = Bulletin(0.0)
    assert bulletin.fold({THING: Notice("PeerEstablished", "up")}, 1.0) == []
    assert bulletin.fold({THING: Notice("PeerDown", "down", True)}, 2.0) == [(THING, Notice("PeerDown", "down", True))]
    other = Bulletin(0.0)
    assert other.fold({THING: Notice("PeerDown", "down", True)}, 1.0)


def test_what_goes_to_and_fro_is_told_now_and_then_with_a_count() -> None:
    bulletin = Bulletin(0.0)
    up, down = Notice("PeerEstablished", "up"), Notice("PeerDown", "down", True)
    told = []
    for second in range(1, 121):
        told += bulletin.fold({THING: down if second % 2 else up}, float(second))
    assert 4 <= len(told) <= 9
    assert "changed" in told[-1][1].message


def test_what_is_again_as_it_was_told_last_is_not_told_again() -> None:
    bulletin = Bulletin(0.0)
    up, down = Notice("PeerEstablished", "up"), Notice("PeerDown", "down", True)
    for second in range(1, 5):
        assert bulletin.fold({THING: down if second % 2 else up}, float(second)), "the first few at once"
    assert bulletin.fold({THING: down}, 5.0) == [], "not the next"
    assert bulletin.fold({THING: up}, 100.0) == [], "and later it is as it was told last"


def test_a_thousand_things_at_once_are_told_over_time_and_warnings_first() -> None:
    bulletin = Bulletin(-1000.0)
    many = {
        About(Kind.SERVICE, ObjectKey("default", f"s{number}"), "announcement"): Notice("R", "m", number % 10 == 0)
        for number in range(1000)
    }
    first = bulletin.fold(many, 0.0)
    assert len(first) == 25
    assert all(notice.warning for _, notice in first)
    assert len(bulletin.fold(many, 10.0)) == 5


def test_a_message_has_an_end() -> None:
    ((_, notice),) = Bulletin(0.0).fold({THING: Notice("R", "x" * 5000, True)}, 1.0)
    assert len(notice.message) <= 900


def test_each_node_tells_of_its_share_and_few_change_hands_when_one_goes() -> None:
    names = tuple(f"n{number}" for number in range(20))
    keys = [ObjectKey("default", f"web-{number}") for number in range(2000)]
    before = {key: ring_of(names).teller(key) for key in keys}
    shares = [sum(teller == name for teller in before.values()) for name in names]
    assert min(shares) > 40
    assert max(shares) < 200
    after = {key: ring_of(names[1:]).teller(key) for key in keys}
    assert all(after[key] == before[key] for key in keys if before[key] != names[0])


def test_what_thousands_of_vips_cost_grows_with_their_number_and_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted are comparisons of an address with a prefix; a search among all routes made them for each VIP."""
    desired, observed = node_of(300)
    looked = 0
    contains = ipaddress.IPv4Network.__contains__

    def count(network: ipaddress.IPv4Network, address: object) -> bool:
        nonlocal looked
        looked += 1
        return contains(network, address)

    monkeypatch.setattr(ipaddress.IPv4Network, "__contains__", count)
    seen = Sight(snapshot=Snapshot(revision=1, node_name="n1"), desired=desired, observed=observed, now=101.0, wall=0.0)
    found = status(seen)
    assert {vip["state"] for vip in found["vips"]} == {"Announced"}
    assert notices(seen)[about("vips")].reason == "VipsServed"
    assert looked < 3000
