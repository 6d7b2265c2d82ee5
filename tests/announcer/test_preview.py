"""``lockstep plan``: its word is what happens."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from announcer.cli.plan import plan as plan_command
from announcer.decide import decide
from announcer.inputs import with_config
from announcer.model.bgp import Route
from announcer.model.desired import Desired
from announcer.model.net import IPNetwork
from announcer.preview import Change, Preview, preview
from announcer.snapshot import ConfigView, take_config
from tests.announcer.build import config, endpoints, net, node, service, snapshot

ROOT = Path(__file__).parents[2]
OBJECTS = (
    node(labels={"rack": "a"}, pod_cidrs=(net("10.244.1.0/24"),)),
    service("a", vip="203.0.113.1"),
    endpoints("a", "10.244.1.10"),
    service("b", vip="203.0.113.2"),
    endpoints("b", "10.244.1.11"),
    service("c", vip="203.0.113.9"),
    endpoints("c", "10.244.1.12"),
)


def decided(text: str) -> Desired:
    return decide(with_config(snapshot(*OBJECTS), take_config(ConfigView(), config(text), ())))


_peer = st.fixed_dictionaries(
    {
        "peer-address": st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        "peer-asn": st.sampled_from([64512, 64513]),
        "my-asn": st.just(64512),
        "hold-time": st.sampled_from(["30s", "90s"]),
        "node-selectors": st.sampled_from([[{}], [{"match-labels": {"rack": "b"}}]]),
    }
)
_pool = st.fixed_dictionaries(
    {
        "name": st.just("main"),
        "protocol": st.just("bgp"),
        "addresses": st.sampled_from([["203.0.113.0/28"], ["203.0.113.0/30"], ["203.0.113.8/29"]]),
        "bgp-advertisements": st.sampled_from(
            [[{}], [{"aggregation-length": 30}], [{"localpref": 200}], [{"communities": ["1:2"]}]]
        ),
    }
)
_text = st.fixed_dictionaries(
    {
        "peers": st.lists(_peer, max_size=2, unique_by=lambda peer: peer["peer-address"]),
        "address-pools": st.lists(_pool, max_size=1),
    }
).map(json.dumps)


def carried_out(before: Desired, seen: Preview, after: Desired) -> dict[str, dict[IPNetwork, Route]]:
    """The routes of ``before`` with the announced changes made to them, looking at ``after`` for attributes alone."""
    tables = {peer: {nlri: wish.route for nlri, wish in rib.items()} for peer, rib in before.rib.items()}
    for session in seen.sessions:
        if session.change is not Change.CHANGED:
            tables.setdefault(session.peer, {})
    for route in seen.routes:
        if route.change is Change.REMOVED:
            del tables[route.peer][route.prefix]
        else:
            tables.setdefault(route.peer, {})[route.prefix] = after.rib[route.peer][route.prefix].route
    for session in seen.sessions:
        if session.change is Change.REMOVED:
            assert not tables.pop(session.peer)
    return tables


@given(_text, _text)
def test_what_is_previewed_and_nothing_else_leads_from_one_decision_to_the_other(one: str, other: str) -> None:
    before, after = decided(one), decided(other)
    seen = preview(before, after)
    wanted = {peer: {nlri: wish.route for nlri, wish in rib.items()} for peer, rib in after.rib.items()}
    assert carried_out(before, seen, after) == wanted
    assert set(seen.kept_sessions) == {n for n, v in before.neighbors.items() if after.neighbors.get(n) == v}
    assert {s.peer for s in seen.sessions} == (before.neighbors.keys() | after.neighbors.keys()) - set(
        seen.kept_sessions
    )
    assert seen.empty == (before.neighbors == after.neighbors and before.rib == after.rib and not seen.vips)
    may_before, may_after = (
        {vip for vip, decision in desired.vips.items() if decision.reason is None} for desired in (before, after)
    )
    assert {v.vip for v in seen.vips if v.change is Change.ADDED} == may_after - may_before
    assert {v.vip for v in seen.vips if v.change is Change.REMOVED} == may_before - may_after
    assert all(v.reason for v in seen.vips if v.change is Change.REMOVED)


CURRENT = (ROOT / "configs" / "standalone" / "bgp-config.yaml").read_text()


def run_plan(tmp_path: Path, text: str, *options: str) -> tuple[int, str]:
    file = tmp_path / "new.yaml"
    file.write_text(text)
    source = str(ROOT / "configs" / "standalone")
    arguments = ["--config", str(file), "--source", source, "--node-name", "n1", *options]
    result = CliRunner().invoke(plan_command, arguments)
    return result.exit_code, result.stdout


def test_offline_nothing_changes(tmp_path: Path) -> None:
    code, output = run_plan(tmp_path, CURRENT)
    assert (code, output) == (0, "nothing would change\nsessions not touched: 192.168.1.11\n")


def test_offline_a_changed_timer_resets_that_session_and_says_so(tmp_path: Path) -> None:
    code, output = run_plan(tmp_path, CURRENT.replace("my-asn: 64512", "my-asn: 64512\n        hold-time: 30s"))
    assert code == 0
    assert "~ session 192.168.1.11 is reset: hold-time differ" in output
    assert "route" not in output


def test_offline_communities_touch_no_session(tmp_path: Path) -> None:
    text = CURRENT.rstrip() + '\n        bgp-advertisements: [{communities: ["64512:1"]}]\n'
    code, output = run_plan(tmp_path, text, "--json")
    answer = json.loads(output)
    assert (code, answer["schema"], answer["valid"]) == (0, "lockstep.plan/v1", True)
    assert (answer["sessions"], answer["kept_sessions"]) == ([], ["192.168.1.11"])
    assert answer["routes"] == [
        {"peer": "192.168.1.11", "prefix": "203.0.113.10/32", "change": "changed", "fields": ["communities"]}
    ]


def test_offline_a_vip_that_loses_its_pool_is_named_with_its_service(tmp_path: Path) -> None:
    code, output = run_plan(tmp_path, CURRENT.replace("203.0.113.0/28", "203.0.113.64/28"))
    assert code == 0
    assert "- vip 203.0.113.10 (default/web) would no longer be announced: noIPAllocated" in output


def test_offline_a_refused_file_ends_with_1(tmp_path: Path) -> None:
    code, output = run_plan(tmp_path, CURRENT.replace("my-asn", "my-san"))
    assert code == 1
    assert "new.yaml:" in output
    assert "my-san" in output
    assert "it would be refused, and what is in force would stay" in output


def test_bfd_comes_and_goes_beside_the_session() -> None:
    def with_peer(more: str, interval: int = 900) -> Desired:
        peer = f"peers: [{{peer-address: 10.0.0.1, peer-asn: 1, my-asn: 1{more}}}]"
        return decided(f"{peer}\nbfd-profiles: [{{name: a, receive-interval: {interval}}}]")

    without, slow, fast = with_peer(""), with_peer(", bfd-profile: a"), with_peer(", bfd-profile: a", 90)
    assert slow.neighbors != without.neighbors
    for before, after in ((without, slow), (slow, fast), (fast, without)):
        seen = preview(before, after)
        assert (seen.sessions, seen.kept_sessions) == ((), ("10.0.0.1",))
