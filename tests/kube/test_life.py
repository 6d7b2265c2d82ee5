"""The whole life of a LoadBalancer Service, driven through a real API server, seen by BIRD, the client and the kernel.

The timings are printed; nothing is asserted about them, because they are those of a machine that does other things too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.allocators import AllocatorProcess
from tests.e2e.cluster import frontends_in_kernel
from tests.kube import objects
from tests.kube.cluster import CONFIG, VIP, KubeCluster, kube_cluster
from tests.kube.server import KubeServer
from tests.lab import RouteJournal, SteadyTraffic, send, until

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.kube]

#: What has changed several times of late is told once in 30 s (``announcer.status.bulletin``), so a test that comes
#: after others waits for its turn; in seconds.
AT_ITS_TURN = 75


@pytest.fixture(scope="module")
def made(kube_server: KubeServer) -> Iterator[KubeCluster]:
    with kube_cluster(kube_server) as cluster:
        yield cluster


@pytest.fixture
def cluster(made: KubeCluster) -> KubeCluster:
    made.begin()
    cidrs = {node.pod_cidr for node in made.lab.nodes}
    until(lambda: cidrs <= set(made.lab.router.fib()) and not made.hops(), "the Pod CIDRs and nothing else", 40)
    return made


class Stopwatch:
    """How long each step took."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._last = time.monotonic()

    def begin(self) -> None:
        self._last = time.monotonic()

    def took(self, what: str) -> None:
        self.lines.append(f"  {(time.monotonic() - self._last) * 1000:7.0f} ms  {what}")
        self.begin()


def test_the_whole_life_of_a_service(cluster: KubeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Agents and the allocator have the rights that the chart gives them, and no more."""
    watch = Stopwatch()
    allocator = AllocatorProcess(cluster.server, tmp_path, "a", "--config-map=kube-system/bgp-config")
    try:
        _live(cluster, watch, allocator)
    finally:
        allocator.stop()
        cluster.server.stop_controllers()
    with capsys.disabled():
        print("\nlife of a Service, by a real API server:", *watch.lines, sep="\n")


def _live(cluster: KubeCluster, watch: Stopwatch, allocator: AllocatorProcess) -> None:
    api = cluster.api
    n1, n2 = cluster.lab.nodes
    cluster.server.start_controllers()

    api.create(objects.service("web", annotations={"metallb.universe.tf/loadBalancerIPs": VIP}))
    for agent in cluster.agents:
        until(lambda agent=agent: agent.explain("default/web").get("reason") == "noIPAllocated", "no address yet", 20)  # type: ignore[misc]
    watch.took("Service created -> both agents know that it has no address")

    allocator.start()
    allocator.await_leading()
    until(lambda: {agent.vip(VIP).get("reason") for agent in cluster.agents} == {"noEndpoints"}, "no endpoints", 20)
    watch.took("allocator started -> leads, has allocated, and both agents withhold it: noEndpoints")
    assert not cluster.hops()
    assert api.get("Service", "default", "web")["status"]["loadBalancer"] == objects.status_of(VIP)["loadBalancer"]

    watch.begin()
    for node in cluster.lab.nodes:
        for pod in node.pods:
            api.create(objects.pod(pod.name, "web", pod.address, node.name))
    cluster.await_hops(cluster.addresses, "the VIP is announced by both nodes")
    watch.took("pods ready -> EndpointSlice by the real controller -> BIRD has the VIP with both next hops")
    until(lambda: send(cluster.lab.client, f"{VIP}:80", count=1).failed == 0, "the first answer")
    for agent in cluster.agents:
        until(lambda agent=agent: agent.vip(VIP)["backends"]["serving"] == 4, "all four serve", 20)  # type: ignore[misc]
    assert set(send(cluster.lab.client, f"{VIP}:80", count=200).backends) == {"n1p1", "n1p2", "n2p1", "n2p2"}

    with SteadyTraffic(cluster.lab.client, f"{VIP}:80", rate=100) as steady:
        watch.begin()
        api.delete("Pod", "default", "n1p1", grace=30)
        for agent in cluster.agents:
            until(lambda agent=agent: agent.vip(VIP)["backends"]["serving"] == 3, "three serve", 20)  # type: ignore[misc]
        watch.took("one pod deleted -> both agents have it out of rotation")
        outcome = steady.stop()
    assert outcome.failed == 0, outcome
    api.delete("Pod", "default", "n1p1")

    watch.begin()
    cluster.agents[0].cli("drain")
    cluster.await_hops(frozenset({n2.address}), "n1 is drained")
    watch.took("lockstep drain on n1 -> BIRD has only n2")
    cluster.agents[0].cli("undrain")
    cluster.await_hops(cluster.addresses, "n1 is back")
    watch.took("lockstep undrain -> BIRD has both")

    for what, drained, back in (
        (
            "label",
            {"metadata": {"labels": {"lockstep/drain": "true"}}},
            {"metadata": {"labels": {"lockstep/drain": None}}},
        ),
        ("taint", {"spec": {"taints": [{"key": "lockstep/drain", "effect": "NoSchedule"}]}}, {"spec": {"taints": []}}),
    ):
        api.patch("Node", "", "n1", drained)
        cluster.await_hops(frozenset({n2.address}), f"n1 is drained by its {what}")
        watch.took(f"{what} lockstep/drain on the Node n1 -> BIRD has only n2")
        api.patch("Node", "", "n1", back)
        cluster.await_hops(cluster.addresses, "n1 is back")
        watch.took(f"{what} taken away -> BIRD has both")

    with RouteJournal(cluster.lab.router) as journal:
        for name in ("n1p2", "n2p1", "n2p2"):
            api.delete("Pod", "default", name)
        cluster.await_hops(frozenset(), "the last endpoint is lost")
        watch.took("last pods deleted -> BIRD has no route")
        api.create(objects.pod("n2p1", "web", n2.pods[0].address, n2.name))
        cluster.await_hops(cluster.addresses, "one is back")
        watch.took("a pod is ready again -> BIRD has both next hops")
        api.delete("Service", "default", "web")
        cluster.await_hops(frozenset(), "the Service is deleted")
        watch.took("Service deleted -> BIRD has no route")
        assert frontends_in_kernel(cluster.agents[0]), "withdrawn first; the entries stay for the drain"
        assert journal.changes(n1.pod_cidr) == []
    for agent in cluster.agents:
        until(lambda agent=agent: not frontends_in_kernel(agent), "nothing is left in the kernel", 30)  # type: ignore[misc]
    watch.took("-> drained, and nothing is left in the kernel of either node")
    assert all(agent.status()["consistency"]["violations"] == 0 for agent in cluster.agents)


def test_while_the_api_server_is_away_routes_stay_and_an_agent_may_even_restart(cluster: KubeCluster) -> None:
    """What happens meanwhile: a Pod that its node knows becomes ready, and its Service gets another slice."""
    pods = ["n1p1", "n1p2", "n2p1", "n2p2"]
    cluster.api.create(objects.service("web", ingress=[VIP]))
    cluster.api.create(cluster.slice_of("web", pods, ready=pods[:3]))
    cluster.await_hops(cluster.addresses, "the VIP is announced")
    agent = cluster.agents[0]
    with (
        RouteJournal(cluster.lab.router) as journal,
        SteadyTraffic(cluster.lab.client, f"{VIP}:80", rate=100) as steady,
    ):
        cluster.relay.go_away()
        until(lambda: agent.status()["sources"]["stale_seconds"] > 4, "its age grows", 30)
        until(lambda: agent.status()["sources"]["problems"], "it says so", 30)
        agent.kill()
        agent.start()
        until(lambda: agent.status().get("sources", {}).get("synced") is False, "started without an API server", 30)
        cluster.api.create(cluster.slice_of("web", pods, name="web-2"))
        cluster.api.delete("EndpointSlice", "default", "web-1")
        cluster.relay.come_back()
        for one in cluster.agents:
            until(lambda one=one: one.vip(VIP)["backends"]["serving"] == 4, "what happened meanwhile", 60)  # type: ignore[misc]
        assert journal.changes() == []
        outcome = steady.stop()
    assert outcome.failed == 0, outcome


def test_a_password_from_a_secret_reaches_the_session(cluster: KubeCluster) -> None:
    """The token of the agents may read this Secret by its name, and no other."""
    reference = CONFIG.replace(
        "my-asn: 64512\n", "my-asn: 64512\n    password-secret: {name: bgp-auth, key: password}\n"
    )
    cluster.api.replace(objects.config_map(reference))

    def refused(agent_index: int) -> str:
        return str(cluster.agents[agent_index].status().get("refused_peers"))

    until(lambda: "secretMissing" in refused(0) and "secretMissing" in refused(1), "there is no such Secret", 40)
    cluster.api.create(objects.secret("bgp-auth", {"password": "canary-3187"}))
    until(lambda: refused(0) == refused(1) == "[]", "the peer is configured with its password", 40)
    for agent in cluster.agents:
        assert "canary-3187" not in agent.log.read_text()
        assert "canary-3187" not in str(agent.status())
    assert "canary-3187" not in str(cluster.api.items("Event"))
    cluster.api.replace(objects.config_map(CONFIG))
    cidrs = {node.pod_cidr for node in cluster.lab.nodes}
    until(lambda: cidrs <= set(cluster.lab.router.fib()), "without a password the router takes them again", 60)


def test_the_cluster_is_told_by_events(cluster: KubeCluster) -> None:
    """One node tells of the Service, each node of itself; the token of an agent may create Events and nothing else."""
    api = cluster.api

    def told(name: str) -> list[tuple[str, str]]:
        found = [
            one for one in api.items("Event", fieldSelector="source=lockstep") if one["involvedObject"]["name"] == name
        ]
        return [(one["type"], one["reason"]) for one in sorted(found, key=lambda one: one["lastTimestamp"])]

    api.create(objects.service("told", ingress=[VIP]))
    until(lambda: ("Warning", "NoEndpoints") in told("told"), "that there are no endpoints", 20)
    # What each node tells of itself comes after what it would tell of the Service.
    api.replace(objects.config_map(CONFIG + "nonsense: 1\n"))
    stale = ("Warning", "ConfigStale")
    until(lambda: stale in told("n1") and stale in told("n2"), "both tell of their configuration", AT_ITS_TURN)
    # The API takes the address of a Service by a second request only: who looks in between tells that it has none.
    said = [word for word in told("told") if word != ("Warning", "NoIPAllocated")]
    assert said == [("Warning", "NoEndpoints")], "by one of the two nodes"
    api.replace(objects.config_map(CONFIG))
    until(lambda: ("Normal", "ConfigApplied") in told("n1"), "and that it is right again", AT_ITS_TURN)
    api.create(cluster.slice_of("told", ["n1p1", "n2p1"]))
    until(lambda: ("Normal", "Announced") in told("told"), "that it is announced", 30)
    uid = api.get("Service", "default", "told")["metadata"]["uid"]
    events = [
        one for one in api.items("Event", fieldSelector="source=lockstep") if one["involvedObject"]["name"] == "told"
    ]
    assert {one["involvedObject"]["uid"] for one in events} == {uid}, "so that kubectl describe shows it"
