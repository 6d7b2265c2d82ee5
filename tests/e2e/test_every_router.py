"""The promise seen by the oracle over both families, with every router: restarts, transitions and a drain."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.cluster import VIP, Cluster, speaker_pid
from tests.e2e.damage import frozen
from tests.e2e.dual_stack import VIP6, await_both, dual_stack_cluster
from tests.lab import until
from tests.oracle import Oracle

pytestmark = [pytest.mark.root, pytest.mark.lab]

_VIPS = (VIP, VIP6)


@pytest.mark.parametrize("router", ["bird", "frr", "gobgp"])
def test_the_promise_holds_with_every_router_over_both_families(router: str) -> None:
    with dual_stack_cluster(router) as made:
        _restarts(made)
        _transitions(made)
        _drain(made)
        _control(made)


def _restarts(made: Cluster) -> None:
    agent = made.agents[0]
    with Oracle(made.lab, *_VIPS, always_routed=True, same_sessions=True):
        for end in (agent.kill, agent.terminate):
            end()
            agent.start()
            for vip in _VIPS:
                agent.await_announced(vip)


def _transitions(made: Cluster) -> None:
    """The last backend goes and comes back. Under policy Local a node answers for itself alone."""
    made.edit("service-web.yaml", lambda manifest: manifest["spec"].update(externalTrafficPolicy="Local"))
    made.await_serving(2)
    with Oracle(made.lab, *_VIPS, same_sessions=True, same_servers=False) as oracle:
        _set_ready(made, False)
        until(lambda: not _routed(made), "no route to either address", 30)
        until(lambda: oracle.look().without_route > 0, "the oracle has seen it")
        _set_ready(made, True)
        await_both(made)
        assert oracle.broken(oracle.stop()) == []


def _set_ready(made: Cluster, ready: bool) -> None:
    made.set_ready(lambda address: ready)
    made.edit("endpointslice-web6.yaml", lambda manifest: _mark(manifest["endpoints"], ready))


def _mark(endpoints: list[dict[str, object]], ready: bool) -> None:
    for endpoint in endpoints:
        endpoint["conditions"] = {"ready": ready, "serving": ready, "terminating": False}


def _routed(made: Cluster) -> set[str]:
    return {f"{VIP}/32", f"{VIP6}/128"} & made.lab.router.fib().keys()


def _drain(made: Cluster) -> None:
    """Under policy Local the flows of a node that leaves go to other servers."""
    with Oracle(made.lab, *_VIPS, always_routed=True, same_sessions=True, same_servers=False):
        assert made.agents[0].cli("drain", "--wait").returncode == 0
        assert made.agents[0].cli("undrain").returncode == 0
        await_both(made)


def _control(made: Cluster) -> None:
    """What a dead server loses is seen in both families, and that without graceful restart routes go with speakers."""
    with Oracle(made.lab, *_VIPS) as oracle:
        made.lab.stop_pod(made.lab.pods[0])
        until(lambda: {lost["vip"] for lost in oracle.look().lost} == set(_VIPS), "lost in both families", 30)
        oracle.stop()
    made.lab.start_pod(made.lab.pods[0])
    with Oracle(made.lab, *_VIPS, always_routed=True, same_sessions=True) as oracle:
        with frozen(*made.agents):
            for agent in made.agents:
                os.kill(speaker_pid(agent), signal.SIGKILL)
            until(lambda: not _routed(made), "no route to either address", 30)
            until(lambda: oracle.look().without_route > 0, "the oracle has seen it")
        await_both(made)
        found = oracle.broken(oracle.stop())
    assert {one.partition(":")[0] for one in found} >= {"I5", "I6"}, found
