"""The planner that remembers plans what one that remembers nothing would, whatever happened before.

It is driven through the random events of ``test_promise``, with the sharing that it relies on: what did not change is
the same object.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from announcer.model.bgp import Neighbor, PeerObserved, PeerState, RibEntry, Route
from announcer.model.desired import Desired, DesiredRoute, Reason, VipDecision
from announcer.model.lb import Backend, DeviceObserved, Frontend, FrontendKey, Proof
from announcer.model.net import IPAddress, IPNetwork, Protocol, host_prefix
from announcer.model.observed import BgpObserved, DatapathObserved, Observed
from announcer.model.steps import AnyStep, ProgramFrontend, Verify
from announcer.plan import Planner, PlanSettings, plan
from announcer.plan.index import Index, Side
from tests.announcer.test_promise import MACHINE_SETTINGS, PEERS, POD_CIDR, SEQUENCES, Promise


def shared(before: Any, after: Any) -> Any:
    """``after``, of the objects of ``before`` wherever these are equal."""
    if before == after:
        return before
    if isinstance(after, dict) and isinstance(before, dict):
        return {key: shared(before.get(key), value) for key, value in after.items()}
    if isinstance(after, msgspec.Struct) and type(before) is type(after):
        fields = {name: shared(getattr(before, name), getattr(after, name)) for name in after.__struct_fields__}
        return type(after)(**fields)
    return after


def _without_renewals(desired: Desired, observed: Observed, now: float) -> tuple[AnyStep, ...]:
    return plan(desired, observed, now, PlanSettings(renewals=0))


class Remembering(Promise):
    """One planner for the whole life of a node.

    Good proofs are not made anew, or every lane would be looked at for their sake.
    """

    planner = staticmethod(_without_renewals)

    def __init__(self) -> None:
        self.planners = [(Planner(), PlanSettings(renewals=renewals)) for renewals in (0, 1)]
        self.last: tuple[Desired, Observed] | None = None
        super().__init__()

    def _plan(self) -> tuple[Desired, tuple[AnyStep, ...]]:
        desired, steps = super()._plan()
        if self.last is not None:
            desired, self.observed = shared(self.last[0], desired), shared(self.last[1], self.observed)
        self.last = desired, self.observed
        for planner, limits in self.planners:
            wanted = plan(desired, self.observed, self.now, limits)
            assert planner.plan(desired, self.observed, self.now, limits) == wanted, "it remembers what is not so"
        return desired, steps

    @precondition(lambda self: self.kernel.entries)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Somebody else writes into the maps."""
        key = data.draw(st.sampled_from(sorted(self.kernel.entries)))
        self.kernel.damaged[key] = "the row is not that of its backends"

    @precondition(lambda self: any(self.speaker.rib.values()))
    @rule(data=st.data())
    def lose_route(self, data: st.DataObject) -> None:
        """The speaker holds one route less than it was told, and so does the router."""
        name, nlri = data.draw(
            st.sampled_from(sorted((name, nlri) for name, rib in self.speaker.rib.items() for nlri in rib))
        )
        del self.speaker.rib[name][nlri]
        self.speaker.routers[name].routes.pop(nlri, None)


REMEMBERING = settings(MACHINE_SETTINGS, max_examples=max(200, SEQUENCES // 5))


@pytest.mark.timeout(1200)
def test_it_plans_what_a_planner_without_a_past_would() -> None:
    """Through crashes, sessions that come and go, aggregates, drains, damage."""
    run_state_machine_as_test(Remembering, settings=REMEMBERING)


def _takes(name: str) -> Callable[..., Iterator[IPAddress]]:
    """The real one, which keeps to itself whom it concerns."""
    original = getattr(Index, name)

    def follow(self: Index, *values: object) -> Iterator[IPAddress]:
        for _ in original(self, *values):
            pass
        yield from ()

    return follow


def _working(*, aggregate: bool = False) -> Remembering:
    """A node that works, and on which nothing is left to do."""
    machine = Remembering()
    machine.begin(working=True, eager=False, peers=PEERS[:1], aggregate=aggregate)
    return machine


def _loses_a_backend(machine: Remembering) -> None:
    machine.put_endpoints("a", ready=[True], here=True)


def _loses_a_route(machine: Remembering) -> None:
    name, rib = next(iter(machine.speaker.rib.items()))
    del rib[next(nlri for nlri in rib if nlri != POD_CIDR)]
    del machine.speaker.routers[name].routes[next(iter(machine.speaker.routers[name].routes))]


def _loses_an_entry(machine: Remembering) -> None:
    machine.kernel.damaged[min(machine.kernel.entries)] = "the row is not that of its backends"


def _forgets_its_proofs(machine: Remembering) -> None:
    machine.observed = msgspec.structs.replace(machine.observed, proofs={})


CHANGES = {
    "_follow_decision": _loses_a_backend,
    "_follow_routes": _loses_a_route,
    "_follow_datapath": _loses_an_entry,
    "_follow_proofs": _forgets_its_proofs,
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_is_found_out_if_it_misses_a_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: each kind of change has to be noticed."""
    machine = _working()
    CHANGES[name](machine)
    machine.round()
    monkeypatch.setattr(Index, name, _takes(name))
    machine = _working()
    CHANGES[name](machine)
    with pytest.raises(AssertionError, match="it remembers what is not so"):
        machine.round()


def test_it_is_found_out_if_it_forgets_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: lanes with anything in them are planned each time."""
    machine = _working()
    machine.delete_service("a")
    for _ in range(3):
        machine.round()
        machine._send_all()
    assert machine.observed.draining, "its entries wait until routers have acted on the withdrawal"
    monkeypatch.setattr(machine.planners[0][0], "_busy", set())
    machine.now += 5.0
    with pytest.raises(AssertionError, match="it remembers what is not so"):
        machine.round()


# --- what it costs ----------------------------------------------------------------------------------------------------

NEIGHBOR = Neighbor(name="tor", address=ipaddress.ip_address("10.0.0.1"), peer_asn=64512, local_asn=64513)
FIRST = ipaddress.IPv4Address("198.18.0.0")


def node_of(vips: int) -> tuple[Desired, Observed]:
    """A node with so many VIPs that works, and on which nothing is left to do."""
    addresses = [FIRST + number for number in range(vips)]
    frontends: dict[FrontendKey, Frontend] = {}
    decisions: dict[IPAddress, VipDecision] = {}
    wishes: dict[IPNetwork, DesiredRoute] = {}
    rib: dict[IPNetwork, RibEntry] = {}
    for vip in addresses:
        key, nlri = FrontendKey(vip, Protocol.TCP, 80), host_prefix(vip)
        route = Route(nlri=nlri)
        frontends[key] = Frontend(key=key, backends=(Backend(ipaddress.IPv4Address("10.64.0.1"), 8080),))
        decisions[vip] = VipDecision(vip=vip, services=(), routes=(nlri,), frontends=(key,))
        wishes[nlri] = DesiredRoute(route=route, vips=(vip,))
        rib[nlri] = RibEntry(route=route, acknowledged=True, sent=True)
    desired = Desired(
        revision=1, synced=True, neighbors={"tor": NEIGHBOR}, frontends=frontends, vips=decisions, rib={"tor": wishes}
    )
    peer = PeerObserved(neighbor=NEIGHBOR, state=PeerState.ESTABLISHED, session=1, end_of_rib=1, rib=rib)
    datapath = DatapathObserved(
        devices={"eth0": DeviceObserved(name="eth0", ifindex=2, attached=True)}, frontends=dict(frontends)
    )
    proofs: dict[IPAddress, Proof] = {vip: Proof(ok=True, at=100.0) for vip in addresses}
    return desired, Observed(datapath=datapath, bgp=BgpObserved(reachable=True, peers={"tor": peer}), proofs=proofs)


def test_a_look_that_finds_nothing_new_plans_only_the_proofs_that_are_next() -> None:
    """Ten thousand VIPs cost what 16 do."""
    desired, observed = node_of(1000)
    planner, renewals = Planner(), PlanSettings().renewals
    assert len(planner.plan(desired, observed, 101.0)) == renewals
    assert planner.planned == 1000
    steps = planner.plan(desired, msgspec.structs.replace(observed, last_arrival=101.0), 102.0)
    assert [type(step) for step in steps] == [Verify] * renewals
    assert planner.planned == renewals


def test_of_a_proof_that_is_made_anew_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen of them at each look: what a whole lane would ask for is half of what a plan costs then."""
    desired, observed = node_of(100)
    planner = Planner()
    planner.plan(desired, observed, 101.0)
    monkeypatch.setattr("announcer.plan.vips.into_service", lambda *_: pytest.fail("a lane was gone through"))
    steps = planner.plan(desired, observed, 102.0)
    assert [step.lane for step in steps] == [str(FIRST + number) for number in range(PlanSettings().renewals)]


def test_the_oldest_proofs_are_next_whatever_the_order_of_the_new_ones() -> None:
    """Some that are not the oldest are made anew, and some at a time before that of others."""
    desired, observed = node_of(50)
    planner, now = Planner(), 110.0
    planner.plan(desired, observed, now)
    for made in ({0: 109.0, 1: 108.0, 7: 100.5, 30: 109.0, 49: 107.0}, {2: 108.5, 30: 105.0}):
        proofs = {FIRST + number: Proof(ok=True, at=at, since=at) for number, at in made.items()}
        observed = msgspec.structs.replace(observed, proofs={**observed.proofs, **proofs})
        for limit in (0, 1, 16, *range(44, 51)):
            limits = PlanSettings(renewals=limit)
            assert planner.plan(desired, observed, now, limits) == plan(desired, observed, now, limits)


def test_a_change_of_one_backend_plans_one_vip() -> None:
    """And the proofs that are next."""
    desired, observed = node_of(1000)
    planner = Planner()
    planner.plan(desired, observed, 100.1)
    key = FrontendKey(FIRST + 500, Protocol.TCP, 80)
    other = msgspec.structs.replace(desired.frontends[key], backends=())
    desired = msgspec.structs.replace(desired, frontends={**desired.frontends, key: other})
    steps = planner.plan(desired, observed, 100.2)
    assert [type(step) for step in steps] == [ProgramFrontend, Verify]
    assert planner.planned == 1


def test_every_proof_has_its_turn() -> None:
    """Also where VIPs that nobody serves any more have entries left and the oldest proofs of all."""
    desired, observed = node_of(100)
    gone = [FIRST + number for number in range(40)]
    decisions = {
        vip: msgspec.structs.replace(decision, reason=Reason.NO_ENDPOINTS) if vip in gone else decision
        for vip, decision in desired.vips.items()
    }
    planner, seen, now = Planner(), set[IPAddress](), 101.0
    desired = msgspec.structs.replace(desired, vips=decisions, rib={"tor": {}})
    observed = msgspec.structs.replace(observed, bgp=BgpObserved(reachable=True))
    for _ in range(10):
        renewed = {step.vip for step in planner.plan(desired, observed, now) if isinstance(step, Verify)}
        seen |= renewed
        proofs = {**observed.proofs, **{vip: Proof(ok=True, at=now) for vip in renewed}}
        observed, now = msgspec.structs.replace(observed, proofs=proofs), now + 1.0
    assert len(seen) == 60


def test_a_side_tells_strays_from_wishes() -> None:
    """A prefix that is being withdrawn is no stray."""
    side, nlri = Side(), host_prefix(FIRST)
    side.rib = {nlri: RibEntry(route=Route(nlri=nlri))}
    side.settle(nlri)
    assert side.strays == {nlri}
    side.rib = {nlri: RibEntry(route=Route(nlri=nlri), withdrawing=True)}
    side.settle(nlri)
    assert not side.strays


def test_a_wish_that_goes_concerns_every_vip_that_its_route_brings_packets_for() -> None:
    """Found by the machine: one of two VIPs of an aggregate is drained, and the aggregate is being withdrawn."""
    desired, observed = node_of(2)
    drained, last = FIRST, FIRST + 1
    nlri = ipaddress.IPv4Network((FIRST, 31))
    wish = DesiredRoute(route=Route(nlri=nlri), vips=(last,))
    leaving = msgspec.structs.replace(desired.vips[drained], reason=Reason.NODE_DRAINING)
    desired = msgspec.structs.replace(desired, vips={**desired.vips, drained: leaving}, rib={"tor": {nlri: wish}})
    peer = observed.bgp.peers["tor"]
    rib = {nlri: RibEntry(route=wish.route, withdrawing=True, acknowledged=True)}
    bgp = BgpObserved(reachable=True, peers={"tor": msgspec.structs.replace(peer, rib=rib)})
    datapath = msgspec.structs.replace(observed.datapath, guards=frozenset({nlri}))
    observed = msgspec.structs.replace(observed, bgp=bgp, datapath=datapath)
    planner, limits = Planner(), PlanSettings(renewals=0)
    assert not [step for step in planner.plan(desired, observed, 100.1, limits) if step.lane == str(drained)]
    gone = msgspec.structs.replace(desired.vips[last], reason=Reason.NO_ENDPOINTS)
    later = msgspec.structs.replace(desired, vips={**desired.vips, last: gone}, rib={"tor": {}})
    steps = planner.plan(later, observed, 100.2, limits)
    assert steps == plan(later, observed, 100.2, limits)
    assert [step for step in steps if step.lane == str(drained)]
