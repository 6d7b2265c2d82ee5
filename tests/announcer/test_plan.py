"""Orders that a plan must keep, one by one. (``test_promise`` tries them all at random.)"""

from __future__ import annotations

import msgspec

from announcer.decide import decide
from announcer.model.bgp import PeerObserved, PeerState, RibEntry, Route
from announcer.model.desired import Desired
from announcer.model.lb import Backend, DeviceObserved, Frontend, FrontendKey, Proof
from announcer.model.net import Family, IPNetwork, Protocol
from announcer.model.observed import BgpObserved, DatapathObserved, Observed
from announcer.model.steps import Announce, AnyStep, EndOfRib, RemoveFrontend, Verify, Withdraw
from announcer.plan import PlanSettings, next_deadline, plan
from tests.announcer.build import endpoints, ip, net, node, service, snapshot

VIP = ip("203.0.113.1")
KEY = FrontendKey(VIP, Protocol.TCP, 80)
ROUTE = net("203.0.113.1/32")
PEER = "10.0.0.1"
NOW = 100.0


def desired(*, ready: bool = True, with_service: bool = True, synced: bool = True) -> Desired:
    objects = [node()]
    if with_service:
        return decide(snapshot(*objects, service(), endpoints("web", "10.244.1.10", ready=ready), synced=synced))
    return decide(snapshot(*objects, synced=synced))


def observed(
    *,
    frontends: dict[FrontendKey, Frontend] | None = None,
    rib: dict[IPNetwork, RibEntry] | None = None,
    proof: Proof | None = None,
    attached: bool = True,
    reachable: bool = True,
    end_of_rib: int = 1,
    unusable: dict[Family, str] | None = None,
    **fields: object,
) -> Observed:
    neighbor = desired().neighbors[PEER]
    peer = PeerObserved(
        neighbor=neighbor,
        state=PeerState.ESTABLISHED,
        session=1,
        end_of_rib=end_of_rib,
        rib=rib or {},
        unusable=unusable or {},
    )
    device = DeviceObserved(name="eth0", ifindex=2, attached=attached)
    return Observed(
        datapath=DatapathObserved(devices={"eth0": device}, frontends=frontends or {}),
        bgp=BgpObserved(reachable=reachable, peers={PEER: peer}),
        proofs={VIP: proof} if proof is not None else {},
        **fields,  # type: ignore[arg-type]
    )


def served() -> dict[FrontendKey, Frontend]:
    return dict(desired().frontends)


def announced(*, sent: bool = True) -> dict[IPNetwork, RibEntry]:
    return {ROUTE: RibEntry(route=Route(nlri=ROUTE), acknowledged=True, sent=sent)}


def good(at: float = NOW) -> Proof:
    return Proof(ok=True, at=at, since=at)


def names(steps: tuple[AnyStep, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_into_service_in_order() -> None:
    steps = plan(desired(), observed(attached=False), NOW)
    assert names(steps) == ["AttachDevices", "ProgramFrontend", "Verify", "Announce"]
    assert len({step.lane for step in steps[1:]}) == 1, "one lane: what fails on the way keeps the route back"


def test_at_rest_nothing_is_planned() -> None:
    assert plan(desired(), observed(frontends=served(), rib=announced(), proof=good()), NOW) == ()


def test_a_proof_that_has_aged_is_made_anew_and_nothing_else() -> None:
    old = good(NOW - PlanSettings().proof_interval)
    assert names(plan(desired(), observed(frontends=served(), rib=announced(), proof=old), NOW)) == ["Verify"]


def test_very_many_proofs_are_made_anew_a_few_at_a_time_oldest_first() -> None:
    vips = [ip(f"203.0.113.{number}") for number in range(1, 13)]
    objects = [service(f"s{v}", vip=str(v)) for v in vips] + [
        endpoints(f"s{v}", f"10.244.1.{number}") for number, v in enumerate(vips, 10)
    ]
    wanted = decide(snapshot(node(), *objects))
    rib: dict[IPNetwork, RibEntry] = {
        net(f"{v}/32"): RibEntry(route=Route(nlri=net(f"{v}/32")), acknowledged=True, sent=True) for v in vips
    }
    seen = observed(frontends=dict(wanted.frontends), rib=rib)
    aged = {v: good(NOW - 100 + number) for number, v in enumerate(vips)}
    steps = plan(wanted, msgspec.structs.replace(seen, proofs=aged), NOW, PlanSettings(renewals=5))
    assert [step.vip for step in steps if isinstance(step, Verify)] == vips[:5]


def test_before_the_sources_are_synced_nothing_at_all() -> None:
    everything = observed(frontends=served(), rib=announced())
    assert plan(desired(with_service=False, synced=False), everything, NOW) == ()


def test_changed_backends_are_programmed_and_proven_at_once_however_fresh_the_proof() -> None:
    older = {KEY: Frontend(key=KEY, backends=(Backend(ip("10.244.1.99"), 8080, local=True),))}
    steps = plan(desired(), observed(frontends=older, rib=announced(), proof=good()), NOW)
    assert names(steps) == ["ProgramFrontend", "Verify"]


RESTART_TIME = 30


def _with_helper(*, up: bool, end_of_rib: int, down_since: float | None, known: bool = True) -> tuple[AnyStep, ...]:
    """A VIP to be removed, no route in any record, and a peer that is a graceful-restart helper."""
    wanted = desired(with_service=False)
    neighbor = msgspec.structs.replace(wanted.neighbors[PEER], graceful_restart=RESTART_TIME)
    wanted = msgspec.structs.replace(wanted, neighbors={PEER: neighbor})
    state = PeerState.ESTABLISHED if up else PeerState.CONNECT
    peer = PeerObserved(neighbor=neighbor, state=state, session=1, end_of_rib=end_of_rib, down_since=down_since)
    bgp = BgpObserved(reachable=True, peers={PEER: peer} if known else {})
    seen = msgspec.structs.replace(observed(frontends=served(), draining={VIP: NOW - 1}), bgp=bgp)
    return plan(wanted, seen, NOW)


def test_a_helper_may_hold_routes_that_we_have_no_record_of() -> None:
    """RFC 4724 section 4.2: until End-of-RIB, or until the restart time is over."""
    assert "AwaitSent" in names(_with_helper(up=True, end_of_rib=0, down_since=None)), "End-of-RIB is still to come"
    assert "AwaitSent" not in names(_with_helper(up=True, end_of_rib=1, down_since=None))
    kept = RESTART_TIME + desired().neighbors[PEER].hold_time
    assert "AwaitSent" in names(_with_helper(up=False, end_of_rib=1, down_since=NOW - kept + 1))
    assert "AwaitSent" not in names(_with_helper(up=False, end_of_rib=1, down_since=NOW - kept))
    assert "AwaitSent" in names(_with_helper(up=False, end_of_rib=0, down_since=None, known=False)), "a new speaker"


def test_a_peer_that_was_lost_without_a_word_believes_in_the_session_for_its_hold_time() -> None:
    wanted = desired(with_service=False)
    hold = wanted.neighbors[PEER].hold_time

    def waits(down_for: float, session: int) -> bool:
        peer = PeerObserved(neighbor=wanted.neighbors[PEER], session=session, down_since=NOW - down_for)
        bgp = BgpObserved(reachable=True, peers={PEER: peer})
        seen = msgspec.structs.replace(observed(frontends=served(), draining={VIP: NOW - 1}), bgp=bgp)
        return "AwaitSent" in names(plan(wanted, seen, NOW))

    assert waits(hold - 1, session=1)
    assert not waits(hold, session=1)
    assert waits(hold - 1, session=0), "a speaker that was restarted does not know of the session before"
    assert not waits(hold, session=0)


def test_from_an_incomplete_reading_things_are_added_and_nothing_is_taken_away() -> None:
    def incomplete(wanted: Desired) -> Desired:
        return msgspec.structs.replace(wanted, complete=False)

    everything = observed(frontends=served(), rib=announced(), proof=good())
    assert plan(incomplete(desired(with_service=False)), everything, NOW) == ()
    assert plan(incomplete(desired(ready=False)), everything, NOW) == ()
    assert names(plan(incomplete(desired()), observed(), NOW)) == ["ProgramFrontend", "Verify", "Announce"]


def test_out_of_service_in_order() -> None:
    seen = observed(frontends=served(), rib=announced(), proof=good())
    steps = plan(desired(with_service=False), seen, NOW)
    assert names(steps) == ["Withdraw", "AwaitSent", "Drain", "RemoveFrontend"]
    assert len({step.lane for step in steps}) == 1


def test_a_withdrawal_that_has_not_left_holds_the_removal_back() -> None:
    withdrawing: dict[IPNetwork, RibEntry] = {
        ROUTE: RibEntry(route=Route(nlri=ROUTE), withdrawing=True, acknowledged=True)
    }
    steps = plan(desired(with_service=False), observed(frontends=served(), rib=withdrawing), NOW)
    assert names(steps) == ["AwaitSent", "Drain", "RemoveFrontend"]


def test_after_the_drain_the_entries_go() -> None:
    left = observed(frontends=served(), draining={VIP: NOW + 1.0})
    assert names(plan(desired(with_service=False), left, NOW)) == ["Drain", "RemoveFrontend"]
    assert names(plan(desired(with_service=False), left, NOW + 1.0)) == ["RemoveFrontend"]
    assert next_deadline(left, NOW) == NOW + 1.0


def test_a_good_proof_is_no_reason_to_look_and_one_that_fails_is() -> None:
    """Of thousands of good ones one would always be due, and looks at all of them would follow each other."""
    assert next_deadline(observed(frontends=served(), proof=good()), NOW) is None
    failed = Proof(ok=False, at=NOW, since=NOW, problem="x")
    assert next_deadline(observed(frontends=served(), proof=failed), NOW) == NOW + PlanSettings().proof_grace


def test_an_agent_that_knows_of_no_drain_begins_one() -> None:
    """It may have been restarted a moment after the withdrawal was sent."""
    steps = plan(desired(with_service=False), observed(frontends=served()), NOW)
    assert names(steps) == ["Drain", "RemoveFrontend"]


def test_with_the_speaker_away_nothing_is_removed() -> None:
    steps = plan(desired(with_service=False), observed(frontends=served(), reachable=False), NOW)
    assert names(steps) == ["AwaitSent", "Drain", "RemoveFrontend"]


def test_the_last_backend_leaving_empties_the_frontend_after_the_route_has_gone() -> None:
    seen = observed(frontends=served(), rib=announced(), proof=good())
    steps = plan(desired(ready=False), seen, NOW)
    assert names(steps) == ["Withdraw", "AwaitSent", "Drain", "ProgramFrontend"]


def test_what_other_nodes_may_send_waits_for_no_drain() -> None:
    """It takes nothing away; the other way round it does."""
    wanted = desired(ready=False)
    (frontend,) = wanted.frontends.values()
    assert frontend.for_others
    less = {KEY: msgspec.structs.replace(frontend, for_others=())}
    assert names(plan(wanted, observed(frontends=less), NOW)) == ["ProgramFrontend"]
    more = {KEY: msgspec.structs.replace(frontend, for_others=(*frontend.for_others, Backend(ip("10.244.1.99"), 1)))}
    assert names(plan(wanted, observed(frontends=more), NOW)) == ["Drain", "ProgramFrontend"]


def test_a_failing_proof_withdraws_after_the_grace_and_repairs_in_the_same_lane() -> None:
    def failing(seconds: float) -> Observed:
        proof = Proof(ok=False, at=NOW, since=NOW - seconds, problem="x")
        return observed(frontends=served(), rib=announced(), proof=proof)

    grace = PlanSettings().proof_grace
    assert names(plan(desired(), failing(grace / 2), NOW)) == ["Verify"]
    assert names(plan(desired(), failing(grace + 0.01), NOW)) == ["Withdraw", "Verify"]


def test_another_proven_vip_keeps_the_shared_aggregate() -> None:
    text = (
        "peers: [{peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512}]\n"
        "address-pools: [{name: main, protocol: bgp, addresses: [203.0.113.0/28], "
        "bgp-advertisements: [{aggregation-length: 28}]}]\n"
    )
    both = decide(
        snapshot(
            node(),
            service("a", vip="203.0.113.1"),
            endpoints("a", "10.244.1.10"),
            service("b", vip="203.0.113.2"),
            endpoints("b", "10.244.1.11"),
            config_text=text,
        )
    )
    aggregate = net("203.0.113.0/28")
    seen = observed(frontends=dict(both.frontends), rib={aggregate: RibEntry(route=Route(nlri=aggregate), sent=True)})
    failed = Proof(ok=False, at=NOW, since=0.0)
    one = msgspec.structs.replace(seen, proofs={ip("203.0.113.1"): failed, ip("203.0.113.2"): good()})
    none = msgspec.structs.replace(seen, proofs={ip("203.0.113.1"): failed, ip("203.0.113.2"): failed})
    assert not [step for step in plan(both, one, NOW) if isinstance(step, Withdraw)]
    assert {step.nlri for step in plan(both, none, NOW) if isinstance(step, Withdraw)} == {aggregate}


def test_the_old_route_goes_when_its_successor_was_sent() -> None:
    """Not when it was given to the engine: ExaBGP sends the withdrawals of one batch before its announcements."""
    old = net("203.0.113.0/30")

    def steps(sent: bool | None = None, *, old_sent: bool = True, **fields: object) -> list[str]:
        rib: dict[IPNetwork, RibEntry] = {old: RibEntry(route=Route(nlri=old), acknowledged=True, sent=old_sent)}
        if sent is not None:
            rib[ROUTE] = RibEntry(route=Route(nlri=ROUTE), acknowledged=True, sent=sent)
        seen = observed(frontends=served(), rib=rib, proof=good())
        peer = msgspec.structs.replace(seen.bgp.peers[PEER], **fields)
        bgp = msgspec.structs.replace(seen.bgp, peers={PEER: peer})
        return names(plan(desired(), msgspec.structs.replace(seen, bgp=bgp), NOW))

    assert steps() == ["Announce"]
    assert steps(sent=False) == []
    assert steps(sent=True) == ["Withdraw"]
    assert steps(sent=False, old_sent=False) == [], "both are on their way"
    assert "Withdraw" in steps(old_sent=False, state=PeerState.ACTIVE), "nobody has the old one, so nobody misses it"
    assert "Withdraw" in steps(old_sent=False, unusable={Family.IPV4: "not offered"}), "nor here"


def test_an_aggregate_that_one_vip_leaves_stays_until_the_others_have_another_way() -> None:
    """One Service loses its endpoints in the moment in which the aggregate is given up."""
    both = decide(
        snapshot(
            node(),
            service("a", vip="203.0.113.1"),
            endpoints("a", "10.244.1.10", ready=False),
            service("b", vip="203.0.113.2"),
            endpoints("b", "10.244.1.11"),
        )
    )
    old, new = net("203.0.113.0/28"), net("203.0.113.2/32")

    def withdrawn(sent: bool) -> list[IPNetwork]:
        rib: dict[IPNetwork, RibEntry] = {
            nlri: RibEntry(route=Route(nlri=nlri), acknowledged=True, sent=sent or nlri == old) for nlri in (old, new)
        }
        seen = observed(frontends=dict(both.frontends), rib=rib)
        proven = msgspec.structs.replace(seen, proofs={ip("203.0.113.2"): good()})
        return [step.nlri for step in plan(both, proven, NOW) if isinstance(step, Withdraw)]

    assert withdrawn(sent=False) == []
    assert set(withdrawn(sent=True)) == {old}


def test_changed_attributes_are_announced_without_a_withdrawal() -> None:
    other: dict[IPNetwork, RibEntry] = {
        ROUTE: RibEntry(route=Route(nlri=ROUTE, communities=((1, 2),)), acknowledged=True, sent=True)
    }
    steps = plan(desired(), observed(frontends=served(), rib=other, proof=good()), NOW)
    assert [step.route for step in steps if isinstance(step, Announce)] == [Route(nlri=ROUTE)]
    assert names(steps) == ["Announce"]


def test_end_of_rib_waits_for_what_is_under_way_and_not_for_what_never_comes() -> None:
    def ends(seen: Observed) -> bool:
        return any(isinstance(step, EndOfRib) for step in plan(desired(), seen, NOW))

    hold = PlanSettings().end_of_rib_hold
    young, old = (Proof(ok=False, at=NOW, since=NOW - since) for since in (0.0, hold))
    assert not ends(observed(frontends=served(), proof=good(), end_of_rib=0)), "not announced yet"
    assert not ends(observed(frontends=served(), rib=announced(sent=False), proof=good(), end_of_rib=0)), "not sent"
    assert ends(observed(frontends=served(), rib=announced(), proof=good(), end_of_rib=0))
    assert not ends(observed(frontends=served(), rib=announced(), proof=good(), end_of_rib=1)), "once a session"
    held_back = observed(
        frontends=served(), rib=announced(sent=False), proof=good(), end_of_rib=0, unusable={Family.IPV4: "not offered"}
    )
    assert ends(held_back), "what the session cannot carry is not waited for"
    assert not ends(observed(frontends=served(), proof=young, end_of_rib=0))
    assert ends(observed(frontends=served(), proof=old, end_of_rib=0))


def test_routes_that_nothing_wants_are_withdrawn() -> None:
    stray = net("198.18.0.0/24")
    rib = announced() | {stray: RibEntry(route=Route(nlri=stray), sent=True)}
    steps = plan(desired(), observed(frontends=served(), rib=rib, proof=good()), NOW)
    assert [step.nlri for step in steps if isinstance(step, Withdraw)] == [stray]
    assert names(steps) == ["Withdraw"]


def test_a_port_that_is_gone_is_removed_while_the_vip_stays() -> None:
    other = FrontendKey(VIP, Protocol.TCP, 81)
    frontends = served() | {other: Frontend(key=other)}
    steps = plan(desired(), observed(frontends=frontends, rib=announced(), proof=good()), NOW)
    assert [step.key for step in steps if isinstance(step, RemoveFrontend)] == [other]
    assert names(steps) == ["RemoveFrontend"]
