"""Ten defects of the BGP integration in Cilium 1.11, and that none of them is here.

All with a real API server, both agents, BIRD, and the real datapath.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import frontends_in_kernel
from tests.e2e.damage import foreign_program
from tests.kube import objects
from tests.kube.cluster import CONFIG, OTHER_VIP, VIP, KubeCluster, kube_cluster
from tests.kube.server import KubeServer
from tests.lab import RouteJournal, until

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.kube]

ONLY_N1 = "    node-selectors: [{match-labels: {kubernetes.io/hostname: n1}}]\n"


@pytest.fixture(scope="module")
def made(kube_server: KubeServer) -> Iterator[KubeCluster]:
    with kube_cluster(kube_server) as cluster:
        yield cluster


@pytest.fixture
def cluster(made: KubeCluster) -> KubeCluster:
    """Both agents run, both sessions stand, and there is no Service."""
    made.begin()
    cidrs = {node.pod_cidr for node in made.lab.nodes}
    until(lambda: cidrs <= set(made.lab.router.fib()) and not made.hops(), "the Pod CIDRs and nothing else", 40)
    return made


def test_1_nothing_is_announced_before_it_can_be_served(cluster: KubeCluster) -> None:
    """There: events went to the speaker before the maps were filled, after every start.

    Here a node that cannot serve at all is not announced, not even after a start, and one that can is announced with
    its entries in place.
    """
    first, second = cluster.agents
    only_second = frozenset({second.node.address})
    with foreign_program(first, cluster.lab.folder / "pass.o"), RouteJournal(cluster.lab.router) as journal:
        cluster.serve(pods=["n2p1", "n2p2"])
        cluster.await_hops(only_second, "the node that can serve")
        first.kill()
        first.start()
        until(lambda: (first.vip(VIP).get("proof") or {}).get("ok") is False, "n1 has tried, and cannot", 40)
        until(lambda: first.node.pod_cidr in cluster.lab.router.fib(), "n1 has its session", 40)
        assert first.vip(VIP)["reason"] == "notProven"
        assert [change.next_hops for change in journal.changes(f"{VIP}/32")] == [only_second]
    cluster.api.delete("Service", "default", "web")
    cluster.await_hops(frozenset(), "from the beginning")
    cluster.serve("again")
    agent_of = {agent.node.address: agent for agent in cluster.agents}
    seen: set[str] = set()
    deadline = time.monotonic() + 40
    while seen != cluster.addresses and time.monotonic() < deadline:
        for hop in cluster.hops() - seen:
            assert (VIP, 80) in frontends_in_kernel(agent_of[hop]), "the router has it, so the kernel must"
            seen.add(hop)
    assert seen == cluster.addresses


def test_2_an_endpoint_that_is_not_ready_gets_nothing(cluster: KubeCluster) -> None:
    """There: every endpoint of a slice counted as ready."""
    cluster.api.create(objects.service("web", ingress=[VIP]))
    cluster.api.create(cluster.slice_of("web", ["n1p1", "n1p2", "n2p1", "n2p2"], ready=False))
    for agent in cluster.agents:
        until(lambda agent=agent: agent.vip(VIP).get("reason") == "noEndpoints", "none is ready", 20)  # type: ignore[misc]
    assert not cluster.hops()
    cluster.api.replace(cluster.slice_of("web", ["n1p1"]))
    cluster.await_hops(cluster.addresses, "one is ready")
    assert cluster.agents[0].vip(VIP)["backends"]["serving"] == 1


def test_3_all_slices_of_a_service_are_looked_at_together(cluster: KubeCluster) -> None:
    """There: the slice that changed last stood for the whole Service."""
    cluster.serve(pods=["n1p1"], externalTrafficPolicy="Local")
    cluster.api.create(cluster.slice_of("web", ["n2p1"], name="web-2"))
    cluster.await_hops(cluster.addresses, "each node has one of its own, in a slice of its own")
    with RouteJournal(cluster.lab.router) as journal:
        cluster.api.replace(cluster.slice_of("web", ["n2p1", "n2p2"], name="web-2"))
        until(lambda: cluster.agents[1].vip(VIP)["backends"]["local"] == 2, "the change has arrived", 20)
        cluster.api.delete("EndpointSlice", "default", "web-2")
        cluster.await_hops(frozenset({cluster.lab.nodes[0].address}), "n2 has none any more")
        hops = [change.next_hops for change in journal.changes(f"{VIP}/32")]
    assert all(cluster.lab.nodes[0].address in found for found in hops), "n1 never left"


def test_4_with_its_last_slice_a_vip_is_withdrawn(cluster: KubeCluster) -> None:
    """There: the speaker was not told that a slice was deleted."""
    cluster.serve()
    cluster.await_hops(cluster.addresses, "the VIP is announced")
    cluster.api.delete("EndpointSlice", "default", "web-1")
    cluster.await_hops(frozenset(), "the VIP is withdrawn")
    assert cluster.agents[0].vip(VIP)["reason"] == "noEndpoints"


def test_5_pod_cidrs_and_vips_leave_each_other_alone(cluster: KubeCluster) -> None:
    """There: whichever was set last replaced the other on the session."""
    cidrs = {node.pod_cidr for node in cluster.lab.nodes}
    with RouteJournal(cluster.lab.router) as journal:
        cluster.serve()
        cluster.await_hops(cluster.addresses, "the VIP is announced")
        assert cidrs <= set(cluster.lab.router.fib())
        cluster.api.patch("Node", "", "n1", {"metadata": {"labels": {"rack": "a"}}})
        cluster.api.delete("Service", "default", "web")
        cluster.await_hops(frozenset(), "the VIP is withdrawn")
        for cidr in cidrs:
            assert journal.changes(cidr) == []


def test_6_a_node_without_peers_and_a_deleted_node_are_no_crash(cluster: KubeCluster) -> None:
    """There: sessions that node-selectors excluded were nil, and were used."""
    pids = [agent.pid for agent in cluster.agents]
    cluster.serve()
    cluster.await_hops(cluster.addresses, "the VIP is announced")
    cluster.api.replace(objects.config_map(CONFIG.replace("address-pools", f"{ONLY_N1}address-pools")))
    cluster.await_hops(frozenset({cluster.lab.nodes[0].address}), "n2 has no peer")
    until(lambda: cluster.agents[1].vip(VIP).get("reason") == "noPeers", "and says so", 20)
    cluster.api.delete("Node", "", "n1")
    until(lambda: not cluster.agents[0].status()["pod_cidrs"], "the node's Pod CIDR is gone", 20)
    n1 = cluster.lab.nodes[0]
    cluster.api.create(objects.node(n1.name, n1.address, n1.pod_cidr))
    cluster.await_hops(frozenset({n1.address}), "it is back")
    assert [agent.pid for agent in cluster.agents] == pids
    assert all(agent.status() for agent in cluster.agents)


def test_7_what_cannot_be_done_is_not_tried_in_a_loop(cluster: KubeCluster) -> None:
    """There: one VIP that could not be announced kept a core of every node busy."""
    outside = "203.0.113.32"
    addresses = f"[192.168.1.11/32, {outside}/32]"
    config = CONFIG + f"  - {{name: outside, protocol: bgp, addresses: {addresses}, auto-assign: false}}\n"
    cluster.api.replace(objects.config_map(config))
    cluster.serve("web", "192.168.1.11")
    # Once this one is announced, all was read that came before it, so that nothing is left to be decided later.
    cluster.serve("other", outside)
    cluster.await_hops(cluster.addresses, "what can be done is done", outside)
    agent = cluster.agents[0]
    assert agent.explain("default/web")["reason"] == "ipNotAllowed", "the peer's own address"
    revision = agent.status()["revision"]
    before, began = agent.metrics()["lockstep_rounds_total"], time.monotonic()
    time.sleep(3)  # the time is what is measured
    rounds, seconds = agent.metrics()["lockstep_rounds_total"] - before, time.monotonic() - began
    assert rounds / seconds < 10, "one a second is the rhythm of the proofs; a loop has hundreds"
    assert agent.status()["revision"] == revision, "nothing was decided again"


def test_8_the_configuration_is_followed_and_the_node_answers_why(cluster: KubeCluster) -> None:
    """There: the file was read once at start, and nothing on the node could be asked."""
    cluster.serve()
    cluster.await_hops(cluster.addresses, "the VIP is announced")
    pids = [agent.pid for agent in cluster.agents]
    cluster.api.replace(objects.config_map(CONFIG.replace("203.0.113.0/28", "203.0.113.8/32")))
    cluster.await_hops(frozenset(), "its address is in no pool any more")
    answer = cluster.agents[0].cli("explain", VIP)
    assert answer.returncode == 1
    assert "ipNotAllowed" in answer.stdout
    cluster.api.replace(objects.config_map(CONFIG + "nonsense: 1\n"))
    until(lambda: cluster.agents[0].status()["config"]["state"] == "stale", "the wrong one is refused", 20)
    (error,) = cluster.agents[0].status()["config"]["errors"]
    assert "nonsense" in error["path"] + error["problem"]
    cluster.api.replace(objects.config_map(CONFIG))
    cluster.await_hops(cluster.addresses, "it is allowed again")
    assert [agent.pid for agent in cluster.agents] == pids, "without a restart"


def test_9_a_peer_with_node_selectors_starts_whenever_the_node_appears(cluster: KubeCluster) -> None:
    """There: in some modes the Node object never reached the speaker."""
    n1 = cluster.lab.nodes[0]
    cluster.api.delete("Node", "", "n1")
    cluster.api.replace(objects.config_map(CONFIG.replace("address-pools", f"{ONLY_N1}address-pools")))
    cluster.serve()
    until(lambda: not cluster.agents[0].status()["peers"], "a node that nobody knows has no labels", 20)
    cluster.api.create(objects.node(n1.name, n1.address, n1.pod_cidr))
    cluster.await_hops(frozenset({n1.address}), "the peer starts with the Node")


def test_10_a_service_keeps_all_its_addresses_and_can_be_deleted(cluster: KubeCluster) -> None:
    """There: addresses were dropped in a conversion, and deletion crashed the agent."""
    cluster.api.create(objects.service("web", ingress=[VIP, OTHER_VIP]))
    cluster.api.create(cluster.slice_of("web", ["n1p1", "n2p1"]))
    cluster.api.create(objects.service("empty", ingress=["203.0.113.12"]))
    cluster.await_hops(cluster.addresses, "one address")
    cluster.await_hops(cluster.addresses, "the other address", OTHER_VIP)
    pids = [agent.pid for agent in cluster.agents]
    cluster.api.delete("Service", "default", "empty")
    cluster.api.delete("Service", "default", "web")
    cluster.await_hops(frozenset(), "withdrawn")
    cluster.await_hops(frozenset(), "withdrawn too", OTHER_VIP)
    for agent in cluster.agents:
        until(lambda agent=agent: not frontends_in_kernel(agent), "nothing is left in the kernel", 30)  # type: ignore[misc]
    assert [agent.pid for agent in cluster.agents] == pids
