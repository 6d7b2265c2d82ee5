"""``lockstep plan`` says beforehand what an edit of the bgp-config will do; here is looked whether that is what it did.

Random edits, always the same ones, in one lab: said by ``lockstep plan`` to a running agent and offline, seen in the
tables of two real routers, in the sessions' counters and in the status.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster, cluster
from tests.e2e.second_router import ADDRESS as SECOND
from tests.e2e.second_router import ASN, SecondRouter
from tests.lab import LabError, until
from tests.lab.agents import LOCKSTEP, NodeAgent
from tests.lab.router import Rib

pytestmark = [pytest.mark.root, pytest.mark.lab]

SEED = 3
EDITS = 12
FIRST = "192.168.1.11"

Json = dict[str, Any]

_FIRST_PEER: Json = {"peer-address": FIRST, "peer-asn": 64512, "my-asn": 64512}
_SECOND_PEER: Json = {"peer-address": SECOND, "peer-asn": ASN, "my-asn": 64512}

_ADDRESSES = (["203.0.113.0/28"], ["203.0.113.8/29", "203.0.113.32/29"], ["203.0.113.64/28"])
_ADVERTISEMENTS: tuple[list[Json], ...] = (
    [{}],
    [{"communities": ["64512:7", "no-export"], "localpref": 200}],
    [{"localpref": 100}],
    [{"med": 5}],
    [{"large-communities": ["64512:1:2"], "as-path-prepend": 2}],
    [{"aggregation-length": 29}],
    [{"aggregation-length": 29, "communities": ["64512:7"]}],
    [{"peers": [FIRST]}],
    [{"peers": [FIRST], "med": 1}, {"peers": [SECOND], "communities": ["64512:9"]}],
    [{"node-selectors": [{"match-labels": {"kubernetes.io/hostname": "n2"}}]}],
    [{"aggregation-length": 20}],  # wider than any prefix of the pool: refused
)


def edit(choose: random.Random, config: Json) -> Json:
    """One or two changes, as a person makes them."""
    new = copy.deepcopy(config)
    for _ in range(choose.choice((1, 1, 2))):
        choose.choice(_EDITS)(choose, new)
    return new


def _pool(choose: random.Random, config: Json) -> None:
    config["address-pools"][0]["addresses"] = choose.choice(_ADDRESSES)


def _advertisement(choose: random.Random, config: Json) -> None:
    config["address-pools"][0]["bgp-advertisements"] = choose.choice(_ADVERTISEMENTS)


def _pod_cidrs(choose: random.Random, config: Json) -> None:
    config["pod-cidrs"] = choose.choice(({}, {"announce": False}, {"med": 9}, {"peers": [FIRST]}))


def _timers(choose: random.Random, config: Json) -> None:
    choose.choice(config["peers"])["hold-time"] = choose.choice(("30s", "60s", "90s"))


def _graceful(choose: random.Random, config: Json) -> None:
    peer = choose.choice(config["peers"])
    if peer.pop("graceful-restart", None) is None:
        peer["graceful-restart"] = {"time": choose.choice(("30s", "60s"))}


def _second_peer(choose: random.Random, config: Json) -> None:
    """Add it, take it away, or have it select another node."""
    for peer in config["peers"][1:]:
        if choose.random() < 0.5:
            config["peers"].remove(peer)
        else:
            peer["node-selectors"] = [{"match-labels": {"kubernetes.io/hostname": choose.choice(("n1", "n2"))}}]
        return
    config["peers"].append(copy.deepcopy(_SECOND_PEER))


def _order(_: random.Random, config: Json) -> None:
    """Nothing changes but the text."""
    config["peers"].reverse()


def _mistake(choose: random.Random, config: Json) -> None:
    choose.choice(config["peers"])["hold-timer"] = "30s"


_EDITS: tuple[Callable[[random.Random, Json], None], ...] = (
    _pool, _advertisement, _advertisement, _pod_cidrs, _timers, _graceful, _second_peer, _second_peer, _order, _mistake,
)  # fmt: skip


class Seen:
    """What is so at one moment: tables, sessions, VIPs."""

    def __init__(self, made: Cluster, second: SecondRouter) -> None:
        status = made.agents[0].status()
        self.config = status["config"]["state"]
        self.tables: dict[str, Rib] = {FIRST: made.lab.router.rib(), SECOND: second.rib()}
        self.sessions = {peer["name"]: (peer["sessions"], peer["since"], peer["state"]) for peer in status["peers"]}
        self.vips = {vip["vip"] for vip in status["vips"] if vip["reason"] is None}
        # Sent is what the router's TCP has acknowledged; its BGP may not have read it yet.
        self.settled = all(
            peer["state"] == "Established"
            and peer["routes"]["sent"] == peer["routes"]["desired"] == len(self.tables[peer["name"]])
            for peer in status["peers"]
        )


def effect(before: Seen, after: Seen) -> Json:
    """What changed, as a plan says it."""
    routes = set()
    for peer, old in before.tables.items():
        new = after.tables[peer]
        routes |= {(peer, prefix, "added") for prefix in new.keys() - old.keys()}
        routes |= {(peer, prefix, "removed") for prefix in old.keys() - new.keys()}
        routes |= {(peer, prefix, "changed") for prefix in old.keys() & new.keys() if old[prefix] != new[prefix]}
    was, now = before.sessions, after.sessions
    sessions = {(peer, "added") for peer in now.keys() - was.keys()}
    sessions |= {(peer, "removed") for peer in was.keys() - now.keys()}
    sessions |= {(peer, "changed") for peer in now.keys() & was.keys() if now[peer] != was[peer]}
    vips = {(vip, "added") for vip in after.vips - before.vips}
    vips |= {(vip, "removed") for vip in before.vips - after.vips}
    return {"sessions": sessions, "routes": routes, "vips": vips}


def announced(plan: Json) -> Json:
    """The same of what was said."""
    return {
        "sessions": {(session["peer"], session["change"]) for session in plan["sessions"]},
        "routes": {(route["peer"], route["prefix"], route["change"]) for route in plan["routes"]},
        "vips": {(vip["vip"], vip["change"]) for vip in plan["vips"]},
    }


def ask_plan(agent: NodeAgent, file: Path) -> Json:
    """Running and offline must say the same."""
    running = agent.cli("plan", f"--config={file}", "--json")
    offline = agent.node.run(
        [LOCKSTEP, "plan", f"--config={file}", "--json", f"--source={agent.source}", "--node-name=n1"], check=False
    )
    said: Json = json.loads(running.stdout)
    assert json.loads(offline.stdout) == said
    assert running.returncode == offline.returncode == (0 if said["valid"] else 1)
    return said


def manifest(config: Json) -> str:
    data = {"config.yaml": yaml.safe_dump(config)}
    metadata = {"name": "bgp-config", "namespace": "kube-system"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def test_what_plan_says_is_what_happens() -> None:
    choose = random.Random(SEED)
    config: Json = {
        "peers": [_FIRST_PEER, _SECOND_PEER],
        "address-pools": [{"name": "default", "protocol": "bgp", "addresses": _ADDRESSES[0]}],
    }
    with cluster(nodes=1) as made:
        second = SecondRouter(made.lab)
        agent = made.agents[0]
        made.write(agent, "bgp-config.yaml", manifest(config))
        agent.start()
        until(lambda: agent.status().get("peers"), "the agent answers", 20)
        before = until(lambda: (seen := Seen(made, second)).settled and seen, "all is announced", 30)
        assert before
        kinds: set[str] = set()
        for number in range(EDITS):
            new = edit(choose, config)
            text = manifest(new)
            file = agent.node.folder / "new.yaml"
            file.write_text(text)
            plan = ask_plan(agent, file)
            said = announced(plan)
            print(f"edit {number}: {yaml.safe_dump(new, default_flow_style=True, width=1000).strip()}  {said}")
            made.write(agent, "bgp-config.yaml", text)
            before = _await_effect(made, second, before, said, "applied" if plan["valid"] else "stale")
            if plan["valid"]:
                config = new
                assert set(plan["kept_sessions"]) | {
                    name for name, change in said["sessions"] if change != "removed"
                } == (before.sessions.keys())
            else:  # mended, because what was in force is nowhere offline
                made.write(agent, "bgp-config.yaml", manifest(config))
                before = _await_effect(made, second, before, said, "applied")
            kinds |= {change for _, change in said["sessions"]} if plan["valid"] else {"refused"}
            kinds |= {f"route {change}" for *_, change in said["routes"]}
        print(f"seen: {sorted(kinds)}")
        assert kinds >= {"added", "removed", "changed", "refused", "route added", "route removed", "route changed"}


def _await_effect(made: Cluster, second: SecondRouter, before: Seen, said: Json, state: str) -> Seen:
    """Wait until what was said has happened; then nothing else may have."""

    def look() -> Seen | None:
        now = Seen(made, second)
        return now if now.config == state and now.settled and effect(before, now) == said else None

    try:
        after = until(look, "what was said has happened", 30)
    except LabError:
        now = Seen(made, second)
        happened = effect(before, now)
        peers = made.agents[0].status()["peers"]
        raise AssertionError(f"said {said}\nseen {happened}\n{now.config}, {peers}") from None
    assert after
    return after
