"""Nodes learn of a change one after the other: what one sends to a backend of another that has not heard of it yet."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import VIP, Cluster, Manifest
from tests.e2e.damage import frozen
from tests.lab import send, until
from tests.lab.agents import NodeAgent

pytestmark = [pytest.mark.root, pytest.mark.lab]

_REQUESTS = 80
#: Two Pods with two ports each.
_ENTRIES_PER_NODE = 4
#: For longer than entries of removed backends stay (``Limits.linger``).
_SECONDS = 20.0


def _takes(agent: NodeAgent) -> int:
    """For how many backends and frontends the node takes what other nodes send."""
    used: int = agent.status().get("datapath", {}).get("maps", {}).get("lb_decaps", {}).get("used", -1)
    return used


def _forget(manifest: Manifest) -> None:
    manifest["endpoints"] = []


def _not_ready(manifest: Manifest) -> None:
    for endpoint in manifest["endpoints"]:
        endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}


@pytest.mark.parametrize("known", [True, False], ids=["known, not ready", "control: unknown"])
def test_a_node_that_is_behind_takes_packets_for_endpoints_that_it_knows(running: Cluster, known: bool) -> None:
    """n2 stands still, with the last news that it had, while n1 learns that all endpoints are ready.

    Control: endpoints that n2 has never heard of, or had forgotten, get nothing of what n1 sends them.
    """
    ahead, behind = running.agents
    ready = (ahead.source / "endpointslice-web.yaml").read_text()
    running.edit("endpointslice-web.yaml", _not_ready if known else _forget)
    running.await_no_vip()
    running.await_serving(0)
    until(lambda: _takes(behind) == (_ENTRIES_PER_NODE if known else 0), "what n2 takes from n1", _SECONDS)
    with frozen(behind):
        for agent in running.agents:
            running.write(agent, "endpointslice-web.yaml", ready)
        until(lambda: running.next_hops == {ahead.node.address}, "n1 alone announces the VIP")
        seen = send(running.lab.client, f"{VIP}:80", count=_REQUESTS, timeout=5.0 if known else 1.0)
    assert {"n1p1", "n1p2"} <= set(seen.backends), seen
    if known:
        assert seen.failed == 0, seen
        assert {"n2p1", "n2p2"} <= set(seen.backends), seen
    else:
        assert not {"n2p1", "n2p2"} & set(seen.backends), seen
        assert seen.failed > 0, seen
    running.await_vip()
    running.await_serving(4)
    assert send(running.lab.client, f"{VIP}:80", count=_REQUESTS).failed == 0
