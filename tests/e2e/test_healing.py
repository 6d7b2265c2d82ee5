"""Somebody else on the node takes things away: it is noticed, repaired and counted, and no request is lost for good.

What can be repaired at once is repaired before a withdrawal could have left; what cannot is withdrawn first.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import VIP, Cluster, frontends_in_kernel
from tests.e2e.damage import OF_THE_DATAPATH, OF_THE_REST, Damage, foreign_program, frozen
from tests.lab import RouteJournal, send, until
from tests.lab.agents import NodeAgent

pytestmark = [pytest.mark.root, pytest.mark.lab]


@pytest.mark.parametrize("damage", [*OF_THE_DATAPATH, *OF_THE_REST], ids=lambda damage: damage.name)
def test_what_somebody_takes_away_is_repaired_and_counted(shared: Cluster, damage: Damage) -> None:
    agent = shared.agents[0]
    before = agent.metrics().get(damage.counter, 0.0)
    damage.act(shared)
    until(lambda: agent.metrics().get(damage.counter, 0.0) > before, f"{damage.counter} has counted", 30)
    shared.await_vip()
    agent.await_proven(VIP)
    assert len(frontends_in_kernel(agent)) == 2
    assert all(device["attached"] for device in agent.status()["datapath"]["devices"])
    assert send(shared.lab.client, f"{VIP}:80", count=100).failed == 0


def test_what_cannot_be_repaired_is_withdrawn_and_comes_back_more_slowly_each_time(running: Cluster) -> None:
    agent, other = running.agents
    built = running.lab.folder / "pass.o"
    for round_ in range(1, 5):
        with RouteJournal(running.lab.router) as journal, foreign_program(agent, built):
            until(lambda: running.next_hops == {other.node.address}, "withdrawn")
            vip = until(lambda: _withheld(agent), "the status says so as well")
            assert vip["reason"] == "notProven"
            assert "another XDP program" in vip["detail"]
            assert vip["damping"]["flaps"] == round_
            assert journal.changes()
        if round_ == 4:  # held for four seconds: long enough to be asked about once
            held = until(lambda: _held(agent), "proven, and held back", 20)
            assert held["detail"].startswith("its proof failed 4 times")
            assert held["announced"] is False
            assert agent.metrics()[f'lockstep_vip_flaps{{vip="{VIP}"}}'] == 4
        running.await_vip()
    assert send(running.lab.client, f"{VIP}:80", count=50).failed == 0


def _withheld(agent: NodeAgent) -> dict[str, Any]:
    vip = agent.vip(VIP)
    return vip if vip.get("state") == "Withheld" else {}


def _held(agent: NodeAgent) -> dict[str, Any]:
    explained = agent.explain(VIP)
    return explained if explained.get("reason") == "damped" else {}


def test_a_frozen_agent_costs_nothing_and_goes_on(running: Cluster) -> None:
    agent = running.agents[0]
    with RouteJournal(running.lab.router) as journal:
        with frozen(agent):
            assert send(running.lab.client, f"{VIP}:80", count=200).failed == 0
            running.set_ready(lambda address: address != "10.244.1.11")
        running.await_serving(3)
        assert journal.changes() == []
