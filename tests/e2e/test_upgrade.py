"""Fault 13: another release takes over while packets pass. Other programs cost nothing; another layout is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import VIP, Cluster
from tests.figures.client import Blast
from tests.lab import until
from tests.lab.agents import LOCKSTEP, NodeAgent
from tests.lab.release import OTHER_PROGRAMS, Edit, build_release
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]

_FRAGMENTS = "LB_MAP(lb_fragments, LRU_HASH, 0, 8192, struct lb_fragment_key, "
#: Without the check that a lookup found something, the verifier refuses the programs.
_REFUSED = (Edit("datapath/bpf/lb_maps.h", "if (packets)\n\t\t*packets", "\t*packets"),)
_LAYOUTS = {
    "max_entries": (Edit("datapath/limits.py", "fragments: int = 8192", "fragments: int = 4096"),),
    "value_size": (Edit("datapath/bpf/lb_maps.h", f"{_FRAGMENTS}struct lb_fragment)", f"{_FRAGMENTS}__u64)"),),
    "type": (Edit("datapath/bpf/lb_maps.h", _FRAGMENTS, _FRAGMENTS.replace("LRU_HASH", "HASH")),),
}


def _tags(agent: NodeAgent) -> dict[str, str]:
    """The kernel's tag (a hash of the instructions) of each pinned program."""
    shown = {path.name: _shown(agent, "prog", path) for path in (agent.node.bpffs / "progs").iterdir()}
    return {name: about["tag"] for name, about in shown.items()}


def _links(agent: NodeAgent) -> dict[str, int]:
    """The kernel's id of each pinned link: one that was detached and attached again has another."""
    return {path.name: _shown(agent, "link", path)["id"] for path in (agent.node.bpffs / "links").iterdir()}


def _shown(agent: NodeAgent, kind: str, path: Path) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(agent.node.run(["bpftool", "--json", kind, "show", "pinned", path]).stdout)
    return shown


def _restart(agent: NodeAgent, release: Path | None) -> None:
    agent.terminate()
    agent.release = release
    agent.start()
    agent.await_announced(VIP)
    until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven again")


def test_other_programs_take_over_and_back_without_a_loss(running: Cluster) -> None:
    """Control: ``test_control_programs_that_are_taken_away_first_cost_packets``."""
    other = build_release(running.lab.folder / "other", OTHER_PROGRAMS)
    before, links = [_tags(agent) for agent in running.agents], [_links(agent) for agent in running.agents]
    with (
        Oracle(running.lab, VIP, always_routed=True, same_sessions=True),
        Blast(running.lab.client, VIP, rate=200, connections=50) as blast,
    ):
        for agent in running.agents:
            _restart(agent, other)
        during = [_tags(agent) for agent in running.agents]
        for agent in running.agents:
            _restart(agent, None)
        seen = blast.stop()
    assert (seen.lost, seen.broken) == (0, 0), seen
    for old, new in zip(before, during, strict=True):
        assert {name for name in old if old[name] != new[name]} == {"lb_ingress", "lb_egress"}, "it was another release"
    assert [_tags(agent) for agent in running.agents] == before
    assert [_links(agent) for agent in running.agents] == links, "replaced in place: no device was ever without"


def test_control_programs_that_are_taken_away_first_cost_packets(running: Cluster) -> None:
    agent = running.agents[0]
    with Blast(running.lab.client, VIP, rate=200, connections=50) as blast:
        agent.terminate()
        agent.node.run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"])
        agent.start()
        running.await_vip()
        seen = blast.stop()
    assert seen.lost > 0, seen


@pytest.mark.parametrize("field", sorted(_LAYOUTS))
def test_another_map_layout_is_refused_and_the_old_release_goes_on(running: Cluster, field: str) -> None:
    agent = running.agents[0]
    other = build_release(running.lab.folder / "other", _LAYOUTS[field])
    links = _links(agent)
    with Oracle(running.lab, VIP, always_routed=True, same_sessions=True):
        agent.terminate()
        agent.release = other
        agent.start()
        assert agent.wait() == 1
        assert f"lb_fragments has {field} " in agent.log.read_text()
        agent.release = None
        agent.start()
        agent.await_announced(VIP)
        until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven again")
    assert _links(agent) == links


def test_programs_that_the_verifier_refuses_touch_nothing(running: Cluster) -> None:
    """Fault 12."""
    agent = running.agents[0]
    other = build_release(running.lab.folder / "other", _REFUSED)
    tags, links = _tags(agent), _links(agent)
    with Oracle(running.lab, VIP, always_routed=True, same_sessions=True):
        agent.terminate()
        agent.release = other
        agent.start()
        assert agent.wait() == 1
        assert (_tags(agent), _links(agent)) == (tags, links)
        agent.release = None
        agent.start()
        agent.await_announced(VIP)
    log = agent.log.read_text()
    assert "map_value_or_null" in log, "what the verifier says is told"
    assert "Traceback" not in log
