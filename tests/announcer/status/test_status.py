"""Status, explanation and metrics of one moment."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from announcer.decide import decide
from announcer.model.bgp import PeerState, RibEntry
from announcer.model.desired import Reason
from announcer.model.lb import Proof
from announcer.model.net import Family
from announcer.model.observed import Observed
from announcer.snapshot import ConfigState, ConfigView, Snapshot
from announcer.status import page
from announcer.status.endpoint import Endpoint, unready
from announcer.status.explain import explain
from announcer.status.http import Request
from announcer.status.metrics import SightCollector
from announcer.status.pieces import at_once
from announcer.status.report import iso, status
from announcer.status.routes import routes
from announcer.status.sight import Sight
from tests.announcer.build import endpoints, net, node, service, snapshot
from tests.announcer.test_plan import NOW, PEER, VIP, announced, good, observed, served

WEB = "default/web"


def sight(seen: Snapshot, observed_: Observed) -> Sight:
    return Sight(snapshot=seen, desired=decide(seen), observed=observed_, now=NOW, wall=1_700_000_000.0)


def working() -> Snapshot:
    return snapshot(node(), service(), endpoints("web", "10.244.1.10"))


def with_peer(observed_: Observed, **fields: object) -> Observed:
    peer = msgspec.structs.replace(observed_.bgp.peers[PEER], **fields)
    return msgspec.structs.replace(observed_, bgp=msgspec.structs.replace(observed_.bgp, peers={PEER: peer}))


ALL_WELL = observed(frontends=served(), rib=announced(), proof=good())
FAILED = Proof(ok=False, at=NOW, since=NOW, problem="next hop not resolved")

#: The world; the target; the one reason that it must give.
REFUSALS: list[tuple[str, Snapshot, Observed, str, Reason]] = [
    ("none ready", snapshot(service(), endpoints("web", "1.1.1.1", ready=False)), ALL_WELL, WEB, Reason.NO_ENDPOINTS),
    (
        "elsewhere",
        snapshot(service(local=True), endpoints("web", "1.1.1.1", node_name="n2")),
        observed(),
        WEB,
        Reason.NO_LOCAL_ENDPOINTS,
    ),
    (
        "no session for it",
        working(),
        observed(frontends=served(), rib=announced(sent=False), proof=good(), unusable={Family.IPV4: "not offered"}),
        "203.0.113.1",
        Reason.FAMILY_NOT_CARRIED,
    ),
    ("no address", snapshot(service(vip=None)), observed(), WEB, Reason.NO_IP_ALLOCATED),
    ("wrong address", snapshot(service(vip="198.18.0.1")), observed(), WEB, Reason.IP_NOT_ALLOWED),
    ("wrong address, by it", snapshot(service(vip="198.18.0.1")), observed(), "198.18.0.1", Reason.IP_NOT_ALLOWED),
    ("other type", snapshot(service(type="NodePort")), observed(), WEB, Reason.NOT_LOAD_BALANCER),
    ("other class", snapshot(service(load_balancer_class="x/y")), observed(), WEB, Reason.CLASS_NOT_OURS),
    ("unknown", working(), ALL_WELL, "default/other", Reason.SERVICE_DELETED),
    ("unknown VIP", working(), ALL_WELL, "203.0.113.9", Reason.SERVICE_DELETED),
    (
        "port taken",
        snapshot(service("a"), endpoints("a", "1.1.1.1"), service("b")),
        observed(),
        "default/b",
        Reason.FRONTEND_CONFLICT,
    ),
    ("not proven yet", working(), observed(), WEB, Reason.NOT_PROVEN),
    ("proof failed", working(), observed(frontends=served(), proof=FAILED), WEB, Reason.NOT_PROVEN),
    (
        "no datapath",
        working(),
        msgspec.structs.replace(
            observed(), datapath=msgspec.structs.replace(observed().datapath, problem="maps are gone")
        ),
        WEB,
        Reason.DATAPATH_ERROR,
    ),
    (
        "session down",
        working(),
        with_peer(observed(frontends=served(), proof=good()), state=PeerState.ACTIVE),
        WEB,
        Reason.PEER_NOT_ESTABLISHED,
    ),
    ("not sent", working(), observed(frontends=served(), rib=announced(sent=False), proof=good()), WEB,
     Reason.PEER_NOT_ESTABLISHED),
    ("no speaker", working(), observed(frontends=served(), proof=good(), reachable=False), WEB,
     Reason.PEER_NOT_ESTABLISHED),
    ("not synced", snapshot(service(), endpoints("web", "1.1.1.1"), synced=False), observed(), WEB,
     Reason.SOURCES_NOT_SYNCED),
    ("bad config", snapshot(service(), config=ConfigView(state=ConfigState.INVALID)), observed(), WEB,
     Reason.CONFIG_INVALID),
    ("no config", snapshot(service(), config=ConfigView()), observed(), WEB, Reason.CONFIG_MISSING),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "observed_", "target", "reason"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_every_refusal_has_its_one_reason(seen: Snapshot, observed_: Observed, target: str, reason: Reason) -> None:
    answer = explain(sight(seen, observed_), target)
    assert (answer["announced"], answer["reason"]) == (False, reason)
    assert answer["detail"] or reason in (Reason.CONFIG_INVALID, Reason.CONFIG_MISSING)


def test_what_is_announced_has_no_reason() -> None:
    for target in (WEB, "web", str(VIP)):
        answer = explain(sight(working(), ALL_WELL), target)
        assert (answer["announced"], answer["reason"]) == (True, None)


def test_documentation_lists_every_reason_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reasons.md").read_text()
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == {reason.value for reason in Reason}


def _vip(answer: dict[str, Any]) -> dict[str, Any]:
    (entry,) = answer["vips"]
    return dict(entry)


def test_the_four_states_of_a_vip() -> None:
    gone = snapshot(node())
    proven = observed(frontends=served(), proof=good())
    draining = msgspec.structs.replace(proven, draining={VIP: NOW + 1})
    drained = msgspec.structs.replace(proven, draining={VIP: NOW - 1})
    assert _vip(status(sight(working(), ALL_WELL)))["state"] == "Announced"
    assert _vip(status(sight(working(), proven)))["state"] == "Programmed"
    assert _vip(status(sight(working(), observed(frontends=served()))))["state"] == "Withheld"
    assert _vip(status(sight(gone, ALL_WELL)))["state"] == "Draining", "a peer still holds it"
    assert _vip(status(sight(gone, draining)))["state"] == "Draining"
    assert _vip(status(sight(gone, drained)))["state"] == "Withheld"


def test_a_session_that_is_down_has_sent_nothing() -> None:
    down = with_peer(ALL_WELL, state=PeerState.CONNECT, last_error="connection refused")
    (peer,) = status(sight(working(), down))["peers"]
    assert peer["routes"] == {"desired": 1, "acknowledged": 1, "sent": 0}
    assert peer["last_error"] == "connection refused"
    assert _vip(status(sight(working(), down)))["peers"] == []


def test_a_route_whose_attributes_change_is_announced_all_the_while() -> None:
    """The peer holds the one before; neither the VIP nor the Pod CIDR is without a route for a moment."""
    seen = snapshot(node(pod_cidrs=(net("10.244.1.0/24"),)), service(), endpoints("web", "10.244.1.10"))
    routes_ = [wish.route for wish in decide(seen).rib[PEER].values()]
    rib = {route.nlri: RibEntry(route=route, acknowledged=True, replacing=True) for route in routes_}
    changing = sight(seen, observed(frontends=served(), rib=rib, proof=good()))
    told = status(changing)
    assert [(one["state"], one["reason"], one["peers"]) for one in (_vip(told), *told["pod_cidrs"])] == [
        ("Announced", None, [PEER])
    ] * 2
    assert explain(changing, WEB)["announced"]
    found = _samples(changing)
    assert found["lockstep_bgp_announced_prefixes{peer=10.0.0.1}"] == 2
    assert found["lockstep_bgp_pending_prefixes{peer=10.0.0.1}"] == 2


def test_a_violation_is_counted() -> None:
    assert status(sight(working(), ALL_WELL))["consistency"]["violations"] == 0
    for broken in (
        observed(rib=announced()),
        observed(frontends=served(), rib=announced(), proof=good(), attached=False),
        observed(frontends=served(), rib=announced(), proof=FAILED),
    ):
        seen = status(sight(working(), broken))["consistency"]
        assert seen["violations"] == 1
        assert seen["details"][0]["prefix"] == "203.0.113.1/32"


def test_routes_show_what_is_on_its_way_in_and_out() -> None:
    (peer,) = at_once(routes(sight(working(), observed(rib=announced(sent=False)))))["peers"]
    (route,) = peer["routes"]
    assert (route["desired"], route["acknowledged"], route["sent"], route["withdrawing"]) == (True, True, False, False)


def _samples(seen: Sight) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in SightCollector(lambda: seen).collect():
        for sample in metric.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_metrics_of_a_working_node() -> None:
    found = _samples(sight(working(), ALL_WELL))
    assert found["lockstep_bgp_session_up{peer=10.0.0.1}"] == 1
    assert found["lockstep_bgp_announced_prefixes{peer=10.0.0.1}"] == 1
    assert found["lockstep_bgp_pending_prefixes{peer=10.0.0.1}"] == 0
    assert found["lockstep_vip_proof_age_seconds{vip=203.0.113.1}"] == 0
    assert found["lockstep_vips_unproven{}"] == 0
    assert found["lockstep_config_loaded{}"] == 1
    assert found["lockstep_consistency_violations{}"] == 0


def test_metrics_tell_trouble() -> None:
    down = with_peer(ALL_WELL, state=PeerState.CONNECT)
    found = _samples(sight(working(), down))
    assert found["lockstep_bgp_session_up{peer=10.0.0.1}"] == 0
    assert found["lockstep_bgp_announced_prefixes{peer=10.0.0.1}"] == 0, "a session that is down announces nothing"
    failed = {vip: msgspec.structs.replace(proof, ok=False) for vip, proof in ALL_WELL.proofs.items()}
    unproven = msgspec.structs.replace(ALL_WELL, proofs=failed)
    assert _samples(sight(working(), unproven))["lockstep_vips_unproven{}"] == 1
    nobody = snapshot(node(), service(), endpoints("web", "10.244.1.10", ready=False))
    assert _samples(sight(nobody, unproven))["lockstep_vips_unproven{}"] == 0, "it is not announced for another reason"
    stale = msgspec.structs.replace(working().config, state=ConfigState.STALE)
    found = _samples(sight(msgspec.structs.replace(working(), config=stale), observed(rib=announced())))
    assert found["lockstep_config_stale{}"] == 1
    assert found["lockstep_consistency_violations{}"] == 1


def test_ready_when_everything_is_there_and_says_what_is_not() -> None:
    assert unready(sight(working(), ALL_WELL)) == []
    assert unready(sight(snapshot(node()), observed(attached=False))) == [], "nothing to serve needs no programs"
    for lacking in (
        sight(snapshot(node(), synced=False), ALL_WELL),
        sight(snapshot(node(), complete=False), ALL_WELL),
        sight(snapshot(node(), config=ConfigView()), ALL_WELL),
        sight(working(), observed(reachable=False)),
        sight(working(), observed(attached=False)),
    ):
        assert len(unready(lacking)) == 1


def test_the_page_escapes_what_comes_from_outside() -> None:
    evil = with_peer(ALL_WELL, last_error="<script>alert(1)</script>")
    text = at_once(page.render(sight(working(), evil)))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_times_are_written_as_the_contract_says() -> None:
    assert iso(1_767_225_600.0) == "2026-01-01T00:00:00Z"
    assert iso(0.0) is None


@pytest.mark.parametrize(
    ("path", "status"), [("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/v1/status", 404), ("/", 404)]
)
def test_strangers_are_told_health_and_metrics_and_nothing_else(path: str, status: int) -> None:
    endpoint = Endpoint(lambda: sight(working(), ALL_WELL), NoTracer(), ())
    assert asyncio.run(endpoint.handle_public(Request("GET", path, {}))).status == status
    assert asyncio.run(endpoint.handle(Request("GET", path, {}))).status == 200


class NoTracer:
    def trace(self, query: dict[str, str]) -> dict[str, Any]:
        raise AssertionError("nobody asked")
