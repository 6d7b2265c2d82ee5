"""``announced ⊆ served``, whatever happens: random events, and a crash after every prefix of every plan.

The machine drives decide, plan and fold against ``world``. An agent that crashes loses everything that it remembers and
starts from what it observes. After every single step and every single UPDATE the promise is checked at the routers,
not in our own tables.
"""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from announcer import plan as plan_package
from announcer.config import parse
from announcer.config.types import Config
from announcer.decide import decide
from announcer.decide.vips import EXCLUDE_LABEL
from announcer.fold import fold
from announcer.model.desired import Desired, Reason
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import Protocol
from announcer.model.objects import (
    Endpoint,
    EndpointSlice,
    Node,
    ObjectKey,
    Service,
    ServicePort,
    SlicePort,
    TrafficPolicy,
)
from announcer.model.observed import Observed, Outcome, OutcomeState
from announcer.model.steps import (
    Announce,
    AnyStep,
    AwaitQuiet,
    AwaitSent,
    ConfigureNeighbors,
    DeclareForwarding,
    Drain,
    EndOfRib,
    RemoveFrontend,
    Shed,
    UnguardAggregate,
    Verify,
    Withdraw,
)
from announcer.plan import drain_is_over, held_until
from announcer.snapshot import ConfigView, Snapshot, take_config
from tests.announcer.world import Kernel, Speaker

NODE = "n1"
POD_CIDR = ipaddress.ip_network("10.244.1.0/24")
NAMES = ("a", "b", "c")
PEERS = ("10.0.0.1", "10.0.0.2")
RESTART_TIME = 5

WAITS = AwaitSent | Drain | Shed | AwaitQuiet

Planner = Callable[[Desired, Observed, float], tuple[AnyStep, ...]]


@functools.cache
def _config(peers: tuple[str, ...], aggregate: bool) -> Config:
    length = 30 if aggregate else 32
    peer_text = "".join(f"- {{peer-address: {p}, peer-asn: 64512, my-asn: 64512, hold-time: 6s}}\n" for p in peers)
    pools = (
        "address-pools:\n- name: main\n  protocol: bgp\n  addresses: [203.0.113.0/29]\n"
        f"  bgp-advertisements:\n  - aggregation-length: {length}\n"
    )
    result = parse(("peers:\n" + peer_text if peers else "") + pools)
    assert result.config is not None, result.problems
    return result.config


@functools.cache
def _vip(name: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address("203.0.113.1") + NAMES.index(name)


class Promise(RuleBasedStateMachine):
    """One node, two possible peers (one of them a graceful-restart helper), three Services."""

    planner: Planner = staticmethod(plan_package.plan)

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.kernel, self.speaker = Kernel(), Speaker()
        self.services: dict[ObjectKey, Service] = {}
        self.endpoints: dict[ObjectKey, tuple[Endpoint, ...]] = {}
        self.excluded = False
        self.drained = False
        self.view = take_config(ConfigView(), _config(PEERS[:1], False), ())
        self.eager = False
        self._seen: Snapshot | None = None
        self.wished = self._decided = Desired(revision=0, synced=False)
        self._start_agent()

    @initialize(
        working=st.booleans(), eager=st.booleans(), peers=st.sampled_from([PEERS[:1], PEERS]), aggregate=st.booleans()
    )
    def begin(self, working: bool, eager: bool, peers: tuple[str, ...], aggregate: bool) -> None:
        """Most of what can go wrong goes wrong in a system that works, so most runs begin with one."""
        self.eager = eager
        if working:
            self.edit_config(peers, aggregate)
            for name in NAMES[:2]:
                self.put_service(name, local=False, two_ports=False)
                self.put_endpoints(name, ready=[True, True], here=True)
            self.settle()

    # --- the agent ----------------------------------------------------------------------------------------------

    def _start_agent(self) -> None:
        self.observed = Observed()
        self.synced = False
        self.kernel.adopted = self.kernel.attached  # a second agent finds what the first has pinned

    def _snapshot(self) -> Snapshot:
        labels = {EXCLUDE_LABEL: ""} if self.excluded else {}
        node = Node(key=ObjectKey("", NODE), labels=labels, pod_cidrs=(POD_CIDR,))
        slices = {
            key: (EndpointSlice(key=key, service=key, ports=_slice_ports(), endpoints=endpoints),)
            for key, endpoints in self.endpoints.items()
        }
        return Snapshot(
            revision=1,
            node_name=NODE,
            synced=self.synced,
            drain="lockstep drain" if self.drained else "",
            config=self.view,
            nodes={node.key: node},
            services=dict(self.services) if self.synced else {},
            slices=slices if self.synced else {},
        )

    def _desired(self) -> Desired:
        """Decided anew only when an input has changed, as the agent does it."""
        seen = self._snapshot()
        if seen != self._seen:
            self._seen, self._decided = seen, self._decide(seen)
        return self._decided

    def _decide(self, seen: Snapshot) -> Desired:
        desired = decide(seen)
        helper = PEERS[1]
        neighbors = {
            name: msgspec.structs.replace(neighbor, graceful_restart=RESTART_TIME) if name == helper else neighbor
            for name, neighbor in desired.neighbors.items()
        }
        return msgspec.structs.replace(desired, neighbors=neighbors)

    def _plan(self) -> tuple[Desired, tuple[AnyStep, ...]]:
        self.observed = fold(self.observed, self.kernel.observe(), self.now)
        self.observed = fold(self.observed, self.speaker.observe(), self.now)
        desired = self.wished = self._desired()
        return desired, self.planner(desired, self.observed, self.now)

    def _run(self, steps: tuple[AnyStep, ...], stop_after: int | None = None) -> bool:
        """Carry out a plan as the executor does, one step at a time. False if the agent crashed on the way."""
        ended: set[str] = set()
        for number, step in enumerate(steps):
            if stop_after is not None and number >= stop_after:
                return False
            if step.lane not in ended and not self._carry_out(step):
                ended.add(step.lane)
            self._check()
            if self.eager:
                self._send_all()
        return True

    def _carry_out(self, step: AnyStep) -> bool:
        if isinstance(step, Withdraw):
            self._check_replaced(step)
        if isinstance(step, WAITS):
            outcome = Outcome(step=step, state=OutcomeState.WAITING)
        elif isinstance(step, Announce | Withdraw | EndOfRib | ConfigureNeighbors | DeclareForwarding):
            (outcome,) = self.speaker.apply([step], self.now)
        else:
            outcome = self.kernel.apply(step, self.now)
        self.observed = fold(self.observed, outcome, self.now)
        return outcome.state is OutcomeState.DONE

    @rule()
    def round(self) -> None:
        """A round that comes to its end."""
        _, steps = self._plan()
        self._run(steps)

    @rule(data=st.data())
    def crash_in_round(self, data: st.DataObject) -> None:
        """The agent dies after any number of steps and forgets everything."""
        _, steps = self._plan()
        self._run(steps, data.draw(st.integers(0, len(steps))))
        self._start_agent()

    @rule()
    def crash_at_every_step(self) -> None:
        """From here, die after every prefix of the plan in turn; each time a new agent must bring all to rest."""
        _, steps = self._plan()
        before = (self.kernel.copy(), self.speaker.copy()), self.observed, self.now, self.synced
        for length in range(len(steps) + 1):
            self._run(steps, length)
            self._start_agent()
            self.settle()
            self.kernel, self.speaker = before[0][0].copy(), before[0][1].copy()
            self.observed, self.now, self.synced = before[1:]

    @rule(rounds=st.integers(1, 4), send=st.booleans())
    def live(self, rounds: int, send: bool) -> None:
        """A few rounds of ordinary life."""
        for _ in range(rounds):
            self.round()
            if send:
                self._send_all()
            self.now += 0.3
            self.speaker.expire_stale(self.now)

    @rule()
    def sync(self) -> None:
        """The sources deliver their first complete state."""
        self.synced = True

    # --- what users and the cluster do --------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), local=st.booleans(), two_ports=st.booleans())
    def put_service(self, name: str, local: bool, two_ports: bool) -> None:
        """Create a Service, or change it."""
        key = ObjectKey("default", name)
        ports = [ServicePort(name="http", port=80)]
        if two_ports:
            ports.append(ServicePort(name="dns", protocol=Protocol.UDP, port=53))
        self.services[key] = Service(
            key=key,
            type="LoadBalancer",
            ports=tuple(ports),
            ingress=(_vip(name),),
            external_traffic_policy=TrafficPolicy.LOCAL if local else TrafficPolicy.CLUSTER,
        )

    @rule(name=st.sampled_from(NAMES))
    def delete_service(self, name: str) -> None:
        """Delete a Service and its endpoints."""
        self.services.pop(ObjectKey("default", name), None)
        self.endpoints.pop(ObjectKey("default", name), None)

    @rule(name=st.sampled_from(NAMES), ready=st.lists(st.booleans(), max_size=3), here=st.booleans())
    def put_endpoints(self, name: str, ready: list[bool], here: bool) -> None:
        """Any number of endpoints, ready or not, on this node or another."""
        self.endpoints[ObjectKey("default", name)] = tuple(
            Endpoint(
                addresses=(ipaddress.ip_address(f"10.244.{1 if here else 2}.{10 + number}"),),
                ready=is_ready,
                node_name=NODE if here else "n2",
            )
            for number, is_ready in enumerate(ready)
        )

    @rule(peers=st.sampled_from([(), PEERS[:1], PEERS[1:], PEERS]), aggregate=st.booleans())
    def edit_config(self, peers: tuple[str, ...], aggregate: bool) -> None:
        """Another bgp-config."""
        self.view = take_config(self.view, _config(peers, aggregate), ())
        self._forget_unreachable()

    @rule(excluded=st.booleans())
    def label_node(self, excluded: bool) -> None:
        """The node is excluded from external load balancers, or no longer."""
        self.excluded = excluded

    @rule(drained=st.booleans())
    def drain(self, drained: bool) -> None:
        """The operator takes the node out of service, or back."""
        self.drained = drained

    # --- what the network and the kernel do ---------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.5, 6.0]))
    def pass_time(self, seconds: float) -> None:
        """Time goes on; helpers forget."""
        self.now += seconds
        self.speaker.expire_stale(self.now)
        self._send_packets()

    def _send_packets(self) -> None:
        """Clients send, and routers pass on what they have routes for."""
        vips = any(nlri != POD_CIDR for router in self.speaker.routers.values() for nlri in router.routes)
        self.kernel.arrivals += vips

    def _send_all(self) -> None:
        for unsent in self.speaker.unsent():
            self.speaker.send(*unsent)
            self._check()

    @rule(eager=st.booleans())
    def change_pace(self, eager: bool) -> None:
        """ExaBGP sends at once, even between two steps of a plan, or only when asked to by other rules."""
        self.eager = eager

    @precondition(lambda self: self.speaker.unsent())
    @rule(data=st.data())
    def send_one(self, data: st.DataObject) -> None:
        """ExaBGP sends one of the UPDATEs that it holds."""
        self.speaker.send(*data.draw(st.sampled_from(self.speaker.unsent())))

    @precondition(lambda self: self.speaker.neighbors)
    @rule(data=st.data(), up=st.booleans(), silent=st.booleans())
    def flip_session(self, data: st.DataObject, up: bool, silent: bool) -> None:
        """A session comes up or goes down, with or without the router's noticing."""
        name = data.draw(st.sampled_from(sorted(self.speaker.neighbors)))
        if up:
            self.speaker.session_up(name)
        else:
            self.speaker.session_down(name, self.now, silent=silent)
            self._forget_unreachable()

    @rule()
    def crash_speaker(self) -> None:
        """The speaker and ExaBGP die and start empty."""
        self.speaker.crash(self.now)
        self._forget_unreachable()

    @rule(reachable=st.booleans())
    def hide_speaker(self, reachable: bool) -> None:
        """The agent loses sight of a speaker that goes on working."""
        self.speaker.reachable = reachable

    @rule(full=st.booleans())
    def fill_maps(self, full: bool) -> None:
        """No new entry fits, or one does again."""
        self.kernel.full = full

    @rule(unprovable=st.booleans())
    def confuse_proofs(self, unprovable: bool) -> None:
        """Everything works, but no proof succeeds: then nothing may stay announced, and it comes back more slowly."""
        self.kernel.unprovable = unprovable

    # --- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def promise(self) -> None:
        """Checked between rules as well as between steps."""
        self._check()

    def _check(self) -> None:
        for name, router in self.speaker.routers.items():
            for nlri in router.routes:
                if nlri == POD_CIDR:
                    continue
                served = [_vip(service) for service in NAMES if _vip(service) in nlri]
                assert any(self.kernel.serves(vip) for vip in served), f"{name} holds {nlri}, nothing serves it"
                assert nlri.prefixlen == 32 or nlri in self.kernel.guards, f"{name} holds {nlri}, unused addresses loop"

    def _check_replaced(self, step: Withdraw) -> None:
        """Make before break: who holds a way to a VIP that works, and shall have another, has that one first.

        The speaker may send what it holds in any order, so it counts what the router has, not what was asked for.
        """
        held = self.speaker.rib.get(step.peer, {}).get(step.nlri)
        if held is None or held.withdrawing:
            return  # another VIP in it has asked for that already, when nothing behind it was proven
        router, wishes = self.speaker.routers[step.peer], self.wished.rib.get(step.peer, {})
        if not router.up or step.nlri not in router.routes or step.nlri in router.stale or step.nlri in wishes:
            return
        for vip in (_vip(service) for service in NAMES):
            proof = self.observed.proofs.get(vip)
            others = [nlri for nlri, wish in wishes.items() if vip in wish.vips]
            if vip in step.nlri and others and proof is not None and proof.ok:
                assert set(others) & router.routes.keys(), f"{step.peer} loses {step.nlri} before it has another way"

    def _forget_unreachable(self) -> None:
        """A helper that lost its session and was taken out of the bgp-config keeps what it holds for the restart time.

        Nobody can tell it anything any more, so this is beyond any order of steps; it is left out here.
        """
        config = self.view.config
        configured = {peer.name for peer in config.peers} if config is not None else set()
        for name, router in self.speaker.routers.items():
            if name not in configured and not router.up:
                router.stale.clear()
                router.routes.clear()

    def settle(self) -> None:
        """Let everything work and come to rest; then nothing may be left to do, and both sides must agree."""
        self.speaker.reachable, self.kernel.full, self.kernel.unprovable, self.synced = True, False, False, True
        quiet = 0
        for _ in range(200):
            for name in sorted(self.speaker.neighbors):
                self.speaker.session_up(name)
            _, steps = self._plan()
            self._run(steps)
            times = [held_until(self.observed, vip) or 0.0 for vip in self.observed.damping]
            is_quiet = all(isinstance(step, Verify) for step in steps) and max(times, default=0.0) <= self.now
            quiet = quiet + 1 if is_quiet else 0
            if quiet == 3:
                break
            self._send_all()
            self._send_packets()
            self.now += 0.5
            self.speaker.expire_stale(self.now)
        desired = self._desired()
        assert self.kernel.entries == _at_rest(desired)
        aggregates = {nlri for rib in desired.rib.values() for nlri in rib if nlri.prefixlen < 32} - {POD_CIDR}
        assert self.kernel.guards == aggregates
        for name in desired.neighbors:
            held = self.speaker.routers[name].routes
            assert held == {nlri: wish.route for nlri, wish in desired.rib[name].items()}
        assert quiet == 3, "the system does not come to rest"
        self._check_drained(desired)

    def _check_drained(self, desired: Desired) -> None:
        assert desired.drain is None or drain_is_over(desired, self.observed, self.now), "the node is not drained"

    def teardown(self) -> None:
        """Every run ends with the check that the system comes to rest."""
        self.settle()


def _at_rest(desired: Desired) -> dict[FrontendKey, Frontend]:
    """What the kernel should hold in the end. A drained node keeps what other nodes still send packets for."""
    gone = {vip for vip, decision in desired.vips.items() if decision.reason is Reason.NODE_DRAINING}
    return {
        key: frontend
        for key, frontend in desired.frontends.items()
        if key.vip not in gone or any(backend.local for backend in frontend.backends)
    }


def _slice_ports() -> tuple[SlicePort, ...]:
    return (SlicePort(name="http", port=8080), SlicePort(name="dns", protocol=Protocol.UDP, port=5353))


#: How many random sequences are tried. ``make test`` asks for 5,000.
SEQUENCES = int(os.environ.get("LOCKSTEP_SEQUENCES", "1000"))

MACHINE_SETTINGS = settings(
    max_examples=SEQUENCES,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.timeout(1200)
def test_promise_holds_through_every_crash() -> None:
    """The real plan keeps the promise, and comes to rest."""
    run_state_machine_as_test(Promise, settings=MACHINE_SETTINGS)


def test_a_route_that_may_be_sent_at_any_moment_is_replaced_like_one_that_was() -> None:
    """Found by the machine, once in some ten thousand sequences: the session comes up while the plan is carried out."""
    machine = Promise()
    machine.begin(working=True, eager=False, peers=PEERS[:1], aggregate=False)
    machine.speaker.session_down(PEERS[0], machine.now)
    machine.round()
    machine.change_pace(eager=True)
    machine.edit_config(aggregate=True, peers=PEERS[:1])
    machine.teardown()


def test_an_old_aggregate_stays_for_the_vip_that_works_while_another_one_fails() -> None:
    """Found by the machine: a proof that fails took the route away under a VIP that had no other yet."""
    machine = Promise()
    machine.begin(working=True, eager=False, peers=PEERS[:1], aggregate=True)
    failing, working = _vip("a"), _vip("b")
    machine.edit_config(aggregate=False, peers=PEERS[:1])
    proofs = dict(machine.observed.proofs)
    proofs[failing] = msgspec.structs.replace(proofs[failing], ok=False, at=machine.now, since=machine.now - 1)
    proofs[working] = msgspec.structs.replace(proofs[working], at=machine.now)
    machine.observed = msgspec.structs.replace(machine.observed, proofs=proofs)
    machine.round()
    (router,) = machine.speaker.routers.values()
    machine._send_all()
    assert {str(nlri) for nlri in router.routes} >= {f"{working}/32"}
    machine.teardown()


def _teardown_first(desired: Desired, observed: Observed, now: float) -> tuple[AnyStep, ...]:
    """A plan that removes before it withdraws and does not wait: the order of the systems that we do better than."""
    steps = [s for s in plan_package.plan(desired, observed, now) if not isinstance(s, WAITS)]
    return tuple(sorted(steps, key=lambda step: not isinstance(step, RemoveFrontend)))


def _announce_first(desired: Desired, observed: Observed, now: float) -> tuple[AnyStep, ...]:
    """A plan that announces before it programs."""
    return tuple(sorted(plan_package.plan(desired, observed, now), key=lambda step: not isinstance(step, Announce)))


def _impatient(desired: Desired, observed: Observed, now: float) -> tuple[AnyStep, ...]:
    """A plan that takes the acknowledgement of a withdrawal for its arrival."""
    steps = plan_package.plan(desired, observed, now)
    return tuple(step for step in steps if not isinstance(step, WAITS))


def _unguarded(desired: Desired, observed: Observed, now: float) -> tuple[AnyStep, ...]:
    """A plan that lets the guard of an aggregate go as soon as the aggregate is not wished for any more."""
    wished = {nlri for rib in desired.rib.values() for nlri in rib}
    idle = [UnguardAggregate(lane="early", prefix=prefix) for prefix in observed.datapath.guards - wished]
    return (*idle, *plan_package.plan(desired, observed, now))


def _hasty(desired: Desired, observed: Observed, now: float) -> tuple[AnyStep, ...]:
    """A plan that asks for the new route first and the end of the old one next, and relies on that order."""
    steps = plan_package.plan(desired, observed, now)
    old = [
        Withdraw(lane="hasty", peer=name, nlri=nlri)
        for name, peer in observed.bgp.peers.items()
        for nlri, entry in peer.rib.items()
        if not entry.withdrawing and nlri not in desired.rib.get(name, {})
    ]
    return (*steps, *old)


@pytest.mark.parametrize("wrong", [_teardown_first, _announce_first, _impatient, _unguarded, _hasty])
def test_the_machine_catches_a_wrong_order(wrong: Planner) -> None:
    """Negative control: plans with a wrong order must be found out, or the test above proves nothing."""

    class Wrong(Promise):
        planner = staticmethod(wrong)

        def _check_drained(self, desired: Desired) -> None:
            """What is asked here is whether the promise is seen to be broken."""

    first_bug = settings(MACHINE_SETTINGS, report_multiple_bugs=False, phases=(Phase.generate,))
    with pytest.raises(AssertionError, match=r"nothing serves it|unused addresses loop|before it has another way"):
        run_state_machine_as_test(Wrong, settings=first_bug)
