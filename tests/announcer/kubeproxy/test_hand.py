"""The hand that forwards nothing itself: every announcement waits for kube-proxy's word, and none outlives it."""

from __future__ import annotations

import msgspec
import pytest

from announcer.consistency import violations
from announcer.decide import decide
from announcer.fold import fold
from announcer.kubeproxy import Health, KubeProxyHand, Probe
from announcer.kubeproxy.hand import SETTLE_SECONDS
from announcer.model.desired import Reason
from announcer.model.errors import BugError
from announcer.model.lb import Proof
from announcer.model.observed import Observed, Outcome, OutcomeState
from announcer.model.steps import Announce, AnyStep, GuardAggregate, RemoveFrontend, Verify, Withdraw
from announcer.plan import PlanSettings, plan
from announcer.run.settings import DEFAULT_KUBE_PROXY_HEALTH
from announcer.status.explain import explain
from announcer.status.report import status
from announcer.status.sight import Sight
from tests.announcer.build import CONFIG, endpoints, ip, net, node, service, snapshot
from tests.announcer.test_plan import announced, observed

VIP = ip("203.0.113.1")
GRACE = PlanSettings().proof_grace


class Rig:
    """One hand, a proxy that says what the test wants, and the pure core around them. Sessions stand."""

    def __init__(self, config_text: str = CONFIG) -> None:
        self.now = 1000.0
        self.health = Health(DEFAULT_KUBE_PROXY_HEALTH)
        self.hand = KubeProxyHand(self.health, lambda: self.now)
        self.snapshot = snapshot(node(), service(), endpoints("web", "10.244.1.10"), config_text=config_text)
        self.desired = decide(self.snapshot)
        self.observed: Observed = observed()

    def says(self, problem: str = "") -> None:
        self.health.proxy = Probe(at=self.now, problem=problem)

    def look(self) -> None:
        self.observed = fold(self.observed, self.hand.observe(()), self.now)

    def round(self) -> list[AnyStep]:
        """Plan, and carry out lane by lane what is for the forwarding hand; returns what got to the speaker."""
        self.look()
        ended: set[str] = set()
        told: list[AnyStep] = []
        for step in plan(self.desired, self.observed, self.now):
            if step.lane in ended:
                continue
            if isinstance(step, Announce | Withdraw):
                told.append(step)
                continue
            outcome = self._apply(step)
            if outcome is not None:
                self.observed = fold(self.observed, outcome, self.now)
                if outcome.state is not OutcomeState.DONE:
                    ended.add(step.lane)
        return told

    def _apply(self, step: AnyStep) -> Outcome | None:
        try:
            return self.hand.apply(step)
        except BugError:
            return None

    def announces(self) -> bool:
        return any(isinstance(step, Announce) for step in self.round())

    def hold(self) -> None:
        """The router was told."""
        peers = observed(rib=announced()).bgp
        self.observed = msgspec.structs.replace(self.observed, bgp=peers)

    def sight(self) -> Sight:
        return Sight(snapshot=self.snapshot, desired=self.desired, observed=self.observed, now=self.now, wall=0.0)


def settled() -> Rig:
    """A VIP that is announced with kube-proxy's word."""
    rig = Rig()
    rig.says()
    rig.round()
    rig.now += SETTLE_SECONDS
    rig.says()
    assert rig.announces()
    rig.hold()
    return rig


def test_nothing_is_announced_before_kube_proxy_was_asked() -> None:
    rig = Rig()
    assert not rig.announces()
    assert rig.observed.proofs == {}, "not asked is no failed proof: what an earlier agent announced stays"


def test_first_endpoints_are_announced_after_kube_proxy_had_time_for_its_rules() -> None:
    rig = Rig()
    rig.says()
    assert not rig.announces()
    rig.now += SETTLE_SECONDS - 0.1
    rig.says()
    assert not rig.announces()
    rig.now += 0.1
    assert not rig.announces(), "its word is from before"
    rig.says()
    assert rig.announces()


def test_its_word_against_it_withdraws_after_the_grace_and_says_why() -> None:
    rig = settled()
    rig.says("answers 503")
    assert rig.round() == []
    rig.now += GRACE + 0.01
    (step,) = rig.round()
    assert isinstance(step, Withdraw)
    answer = explain(msgspec.structs.replace(rig.sight(), observed=_without_routes(rig.observed)), str(VIP))
    assert answer["reason"] == Reason.NOT_PROVEN
    assert answer["detail"] == "kube-proxy is not healthy: answers 503"


def test_source_ranges_are_left_to_kube_proxy_which_enforces_them() -> None:
    rig = Rig()
    fenced = service(source_ranges=(net("192.0.2.0/24"),))
    rig.desired = decide(snapshot(node(), fenced, endpoints("web", "10.244.1.10")))
    rig.says()
    rig.round()
    rig.now += SETTLE_SECONDS
    rig.says()
    assert rig.announces()


def test_more_and_other_endpoints_are_not_waited_for() -> None:
    rig = settled()
    rig.desired = decide(snapshot(node(), service(), endpoints("web", "10.244.1.11", "10.244.1.12")))
    assert rig.round() == []
    assert rig.observed.proofs[VIP].ok


def test_an_agent_that_starts_anew_withdraws_nothing() -> None:
    rig = settled()
    rig.hand = KubeProxyHand(rig.health, lambda: rig.now)
    rig.observed = Observed(bgp=rig.observed.bgp)
    for _ in range(6):
        assert rig.round() == []
        rig.now += 0.5
        rig.says()
    assert rig.observed.proofs[VIP].ok


def test_what_kube_proxy_says_about_one_service_counts_for_its_vips() -> None:
    rig = settled()
    rig.health.vips = {VIP: "no local endpoints"}
    rig.observed = msgspec.structs.replace(rig.observed, proofs={})
    rig.round()
    assert rig.observed.proofs[VIP] == Proof(ok=False, at=rig.now, since=rig.now, problem="no local endpoints")


def test_a_backend_less_port_is_handed_over_and_settles_again_when_it_serves() -> None:
    rig = settled()
    rig.desired = decide(snapshot(node(), service()))
    rig.round()
    rig.observed = _without_routes(rig.observed)
    rig.desired = decide(rig.snapshot)
    rig.now += 10
    rig.says()
    rig.round()
    rig.now += 5
    rig.says()
    assert rig.announces()


def test_an_aggregate_is_never_announced() -> None:
    text = CONFIG.replace("[203.0.113.0/28]", "[203.0.113.0/28], bgp-advertisements: [{aggregation-length: 28}]")
    rig = Rig(text)
    rig.says()
    for _ in range(5):
        assert not rig.announces()
        rig.now += SETTLE_SECONDS
        rig.says()
    answer = explain(rig.sight(), str(VIP))
    assert (answer["announced"], answer["reason"]) == (False, Reason.NOT_PROVEN)
    assert "kube-proxy drops no packets to addresses of the aggregate" in answer["detail"]
    outcome = rig.hand.apply(GuardAggregate(lane="guard", prefix=net("203.0.113.0/28")))
    assert (outcome.state, outcome.retry) == (OutcomeState.FAILED, False)


def test_removed_is_removed_and_what_is_not_in_the_book_is_no_proof() -> None:
    rig = settled()
    (frontend,) = rig.desired.frontends.values()
    rig.hand.apply(RemoveFrontend(lane=str(VIP), key=frontend.key))
    assert rig.hand.observe(()).frontends == {}
    outcome = rig.hand.apply(Verify(lane=str(VIP), vip=VIP, frontends=(frontend,)))
    assert outcome.problem == "203.0.113.1:80/TCP is not in the book"


def test_a_step_of_the_speaker_is_a_bug() -> None:
    with pytest.raises(BugError):
        Rig().hand.apply(Withdraw(lane="x", peer="p", nlri=net("203.0.113.1/32")))


def test_status_and_consistency_say_whose_word_it_is() -> None:
    rig = settled()
    rig.look()
    seen = status(rig.sight())
    assert seen["datapath"]["forwarded_by"] == "kube-proxy"
    assert seen["datapath"]["forwarder"]["healthy"] is True
    assert (seen["datapath"]["devices"], seen["consistency"]["violations"]) == ([], 0)
    rig.says("cannot be reached")
    rig.look()
    assert [one.problem for one in violations(rig.desired, rig.observed)] == ["kube-proxy is not healthy"]
    assert status(rig.sight())["datapath"]["forwarder"]["problem"] == "cannot be reached"


def _without_routes(seen: Observed) -> Observed:
    return msgspec.structs.replace(seen, bgp=observed().bgp)
