"""Fault 8: whatever becomes of one peer, the others hear of every change, and their sessions and packets go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import yaml

from tests.e2e.cluster import VIP, Cluster
from tests.e2e.second_router import ADDRESS, ASN, SecondRouter
from tests.lab import until
from tests.lab.agents import NodeAgent
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]

_FAULTS: dict[str, Callable[[SecondRouter], None]] = {
    "killed": lambda router: os.kill(router.process.pid, signal.SIGKILL),
    "frozen": lambda router: os.kill(router.process.pid, signal.SIGSTOP),
    "notification": SecondRouter.shut_down_session,
    "cut-off": SecondRouter.cut_off,
}


def _add_peer(made: Cluster, agent: NodeAgent) -> None:
    manifest = yaml.safe_load((agent.source / "bgp-config.yaml").read_text())
    config = yaml.safe_load(manifest["data"]["config.yaml"])
    # Short, so that a peer that says nothing any more is given up within the test.
    config["peers"].append({"peer-address": ADDRESS, "peer-asn": ASN, "my-asn": 64512, "hold-time": "6s"})
    manifest["data"]["config.yaml"] = yaml.safe_dump(config)
    made.write(agent, "bgp-config.yaml", yaml.safe_dump(manifest))


def _state(agent: NodeAgent, name: str) -> tuple[str, int]:
    (peer,) = [peer for peer in agent.status()["peers"] if peer["name"] == name]
    return peer["state"], peer["sessions"]


@pytest.mark.parametrize("fault", sorted(_FAULTS))
def test_what_becomes_of_one_peer_is_no_matter_to_another(running: Cluster, fault: str) -> None:
    agent = running.agents[0]
    second = SecondRouter(running.lab)
    _add_peer(running, agent)
    until(lambda: f"{VIP}/32" in second.rib(), "the second router has the VIP", 30)
    first = _state(agent, "192.168.1.11")
    with Oracle(running.lab, VIP, always_routed=True):
        _FAULTS[fault](second)
        until(lambda: _state(agent, ADDRESS)[0] != "Established", "the agent knows", 30)
    # Policy Local, as each node then answers for itself alone.
    running.edit("service-web.yaml", lambda manifest: manifest["spec"].update(externalTrafficPolicy="Local"))
    running.await_serving(2)
    with Oracle(running.lab, VIP, same_servers=False):
        running.set_ready(lambda address: False)
        running.await_no_vip()
        running.set_ready(lambda address: True)
        running.await_vip()
    assert _state(agent, "192.168.1.11") == first
