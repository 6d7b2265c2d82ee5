"""What happens to routes, requests and maps when the cluster changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, Manifest, cluster, frontends_in_kernel
from tests.figures.client import Blast
from tests.lab import RouteJournal, SteadyTraffic, send, until
from tests.lab.lab import Pod
from tests.lab.release import DRAIN_SECONDS, LONG_DRAIN, build_release

pytestmark = [pytest.mark.root, pytest.mark.lab]

REMOVED_POD = "10.244.2.12"


def test_a_vip_without_serving_endpoints_is_not_announced() -> None:
    with cluster() as made:
        made.set_ready(lambda _: False)
        for agent in made.agents:
            agent.start()
        until(lambda: "10.244.1.0/24" in made.lab.router.fib(), "the router has the Pod CIDR", 20)
        until(lambda: made.agents[0].vip(VIP), "the agent knows the VIP")
        assert made.agents[0].vip(VIP)["reason"] == "noEndpoints"
        assert made.agents[0].vip(VIP)["state"] == "Withheld"
        explained = made.agents[0].cli("explain", VIP)
        assert explained.returncode == 1
        assert explained.stdout.startswith(f"{VIP}: not announced: noEndpoints")
        assert not made.next_hops
        assert send(made.lab.client, f"{VIP}:80", count=3, timeout=0.3).ok == 0

        made.set_ready(lambda _: True)
        made.await_vip()
        assert send(made.lab.client, f"{VIP}:80", count=40).failed == 0


def test_a_backend_that_goes_away_is_out_of_rotation_and_costs_no_request(running: Cluster) -> None:
    with (
        SteadyTraffic(running.lab.client, f"{VIP}:80", rate=200) as steady,
        RouteJournal(running.lab.router) as journal,
    ):
        (pod,) = [pod for pod in running.lab.pods if pod.address == REMOVED_POD]
        running.set_ending(pod.address, serving=False)
        running.await_serving(3)
        said = running.agents[0].cli("explain", VIP).stdout
        assert f"{pod.address}:8080 remote, nothing new, but what it has\n" in said
        until(lambda: not _connections(pod), "it is done with what it had")
        running.lab.stop_pod(pod)
        after = send(running.lab.client, f"{VIP}:80", count=200)
        outcome = steady.stop()
        assert journal.changes() == [], "a change of backends is no matter for BGP"
    assert (after.ok, after.failed) == (200, 0), after
    assert set(after.backends) == {"n1p1", "n1p2", "n2p1"}
    assert outcome.failed == 0, outcome


@pytest.mark.parametrize("word", ["keep", "reset"])
def test_connections_of_an_endpoint_that_is_not_ready_are_what_the_service_says(running: Cluster, word: str) -> None:
    """Each is the other's control. New ones go to others in either case."""

    def annotate(manifest: Manifest) -> None:
        manifest["metadata"].setdefault("annotations", {})["lockstep/not-ready-connections"] = word

    running.edit("service-web.yaml", annotate)
    with Blast(running.lab.client, VIP, rate=500, connections=40) as blast:
        running.set_ready(lambda address: address != REMOVED_POD)
        running.await_serving(3)
        blast.await_every_connection()
        assert set(send(running.lab.client, f"{VIP}:80", count=100).backends) == {"n1p1", "n1p2", "n2p1"}
        blasted = blast.stop()
    assert (blasted.broken > 0) is (word == "reset"), blasted
    assert blasted.lost == 0, "datagrams go to others at once"


def _connections(pod: Pod) -> str:
    """That its server has to answer, one a line (ss(8))."""
    return pod.run(["ss", "-Htn", "state", "established", "state", "syn-recv", "sport", "=", ":8080"]).stdout


def test_the_last_backend_going_away_withdraws_the_route(running: Cluster) -> None:
    running.set_ready(lambda _: False)
    running.await_no_vip()
    assert {"10.244.1.0/24", "10.244.2.0/24"} <= set(running.lab.router.fib())
    for agent in running.agents:
        until(lambda agent=agent: agent.vip(VIP)["state"] == "Withheld", "the VIP is withheld")  # type: ignore[misc]
        assert agent.vip(VIP)["reason"] == "noEndpoints"
        assert frontends_in_kernel(agent) == {(VIP, 80), (VIP, 53)}, "packets that still come are dropped, not looped"
    running.set_ready(lambda _: True)
    running.await_vip()


@pytest.fixture
def patient() -> Iterator[Cluster]:
    """It runs, with entries that stay for long after a withdrawal."""
    with cluster() as made:
        release = build_release(made.lab.folder / "patient", LONG_DRAIN)
        for agent in made.agents:
            agent.release = release
        made.start()
        yield made


def test_deleting_the_service_withdraws_first_and_removes_after(patient: Cluster) -> None:
    """Observed at the router and in the maps; our own word is not asked."""
    with RouteJournal(patient.lab.router) as journal:
        patient.delete("service-web.yaml")
        for agent in patient.agents:
            still_there = gone = datetime.now(UTC)
            while frontends_in_kernel(agent):
                still_there = gone
                gone = datetime.now(UTC)
            route_gone = _when_left(journal, agent.node.address)
            assert route_gone < still_there, "the route went while the entries were still there"
            assert (gone - route_gone).total_seconds() > 0.75 * DRAIN_SECONDS, "and they stayed for the drain"
        assert not patient.next_hops


def _when_left(journal: RouteJournal, next_hop: str) -> datetime:
    """When the router last stopped using a next hop for the VIP."""
    changes = journal.changes(VIP_ROUTE)
    without = [change.time for change in changes if change.action == "deleted" or next_hop not in change.next_hops]
    return without[0].astimezone(UTC)


def test_a_route_never_stands_at_the_router_before_the_entries_stand_in_the_kernel() -> None:
    """From a cold start, over and over: whenever the router has the VIP, the maps must have it already."""
    with cluster() as made:
        for agent in made.agents:
            agent.start()
        address = {agent.node.address: agent for agent in made.agents}
        seen: set[str] = set()
        deadline = time.monotonic() + 30
        while seen != set(address) and time.monotonic() < deadline:
            for hop in made.next_hops - seen:
                assert frontends_in_kernel(address[hop]) == {(VIP, 80), (VIP, 53)}
                seen.add(hop)
        assert seen == set(address)


def test_a_node_that_cannot_attach_its_programs_announces_no_vip() -> None:
    """Somebody else's program sits on the device of n1: it stays, and n1 attracts nothing that it could not serve."""
    with cluster() as made:
        first, second = made.lab.nodes
        foreign = made.lab.folder / "pass.o"
        first.run(["ip", "link", "set", "dev", "eth0", "xdp", "obj", foreign, "sec", "xdp"])
        # Pods of n1 would need its program as well, to take the outer header off what n2 sends them.
        made.set_ready(lambda address: address.startswith("10.244.2."))
        for agent in made.agents:
            agent.start()
        until(lambda: made.next_hops == {second.address}, "n2 announces the VIP", 20)
        until(lambda: first.pod_cidr in made.lab.router.fib(), "n1 has a session and announces its Pod CIDR", 20)
        until(lambda: (made.agents[0].vip(VIP).get("proof") or {}).get("ok") is False, "the proof of n1 has failed")
        answer = made.agents[0].explain(VIP)
        assert (answer["announced"], answer["reason"]) == (False, "notProven")
        (device,) = made.agents[0].status()["datapath"]["devices"]
        assert device["attached"] is False
        assert "XDP program" in device["problem"]
        assert made.next_hops == {second.address}
        assert send(made.lab.client, f"{VIP}:80", count=100).failed == 0
        first.run(["ip", "link", "set", "dev", "eth0", "xdp", "off"])
        made.await_vip()


def test_a_port_added_to_the_service_is_served_without_touching_the_route(running: Cluster) -> None:
    def add(manifest: Manifest) -> None:
        port = {"name": "http", "protocol": "TCP", "port": 8081}
        manifest["spec"]["ports"].append(port)

    with RouteJournal(running.lab.router) as journal:
        running.edit("service-web.yaml", add)
        for agent in running.agents:
            until(lambda agent=agent: (VIP, 8081) in frontends_in_kernel(agent), "the new port is programmed")  # type: ignore[misc]
        assert send(running.lab.client, f"{VIP}:8081", count=100).failed == 0
        assert journal.changes() == []


def test_an_excluded_node_stops_attracting_and_keeps_forwarding(running: Cluster) -> None:
    def exclude(manifest: Manifest) -> None:
        manifest["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] = ""

    with SteadyTraffic(running.lab.client, f"{VIP}:80", rate=200) as steady:
        running.edit("node-n1.yaml", exclude)
        until(lambda: running.next_hops == {running.lab.nodes[1].address}, "only n2 attracts the VIP")
        outcome = steady.stop()
    assert outcome.failed == 0, outcome
    assert running.agents[0].vip(VIP)["reason"] == "nodeExcluded"
    after = send(running.lab.client, f"{VIP}:80", count=200)
    assert after.failed == 0
    assert set(after.backends) == {"n1p1", "n1p2", "n2p1", "n2p2"}, "its pods are served through the other node"


def test_policy_local_announces_only_where_the_endpoints_are(running: Cluster) -> None:
    def local(manifest: Manifest) -> None:
        manifest["spec"]["externalTrafficPolicy"] = "Local"

    running.set_ready(lambda address: address.startswith("10.244.1."))
    running.edit("service-web.yaml", local)
    until(lambda: running.next_hops == {running.lab.nodes[0].address}, "only n1 attracts the VIP")
    assert running.agents[1].vip(VIP)["reason"] == "noLocalEndpoints"
    running.await_serving(2, running.agents[0])
    after = send(running.lab.client, f"{VIP}:80", count=100)
    assert (after.failed, set(after.backends)) == (0, {"n1p1", "n1p2"})


ORIGINAL = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: bgp-config
  namespace: kube-system
data:
  config.yaml: |
    peers:
      - peer-address: 192.168.1.11
        peer-asn: 64512
        my-asn: 64512
"""


@pytest.mark.parametrize("router", ["bird", "frr"])
def test_the_config_map_of_the_original_announcement_works_as_it_stands(router: str) -> None:
    with cluster(router) as made:
        for agent in made.agents:
            made.write(agent, "bgp-config.yaml", ORIGINAL)
            agent.start()
        wanted = {"10.244.1.0/24": frozenset({"192.168.1.21"}), "10.244.2.0/24": frozenset({"192.168.1.22"})}
        until(
            lambda: all(made.lab.router.fib().get(prefix) == hops for prefix, hops in wanted.items()),
            "the router has both Pod CIDRs",
            20,
        )
        (pod,) = [pod for pod in made.lab.pods if pod.name == "n2p1"]
        assert send(made.lab.client, f"{pod.address}:8080", count=20).ok == 20, "pods are reached by these routes"
        assert not made.next_hops
        assert made.agents[0].explain("default/web")["reason"] == "noIPAllocated"


def test_ebgp_with_communities_and_a_range() -> None:
    text = """\
peers:
- {peer-address: 192.168.1.11, peer-asn: 64600, my-asn: 64512, hold-time: 9s, router-id: 10.9.9.9}
bgp-communities: {blue: "64512:7"}
address-pools:
- name: main
  protocol: bgp
  addresses: [203.0.113.8-203.0.113.12]
  bgp-advertisements:
  - {localpref: 300, communities: [blue, "64512:9"]}
"""
    with cluster(router_asn=64600) as made:
        for agent in made.agents:
            (agent.source / "bgp-config.yaml").unlink()
            config = agent.node.folder / "bgp.yaml"
            config.write_text(text.replace("10.9.9.9", agent.node.address))
            agent.arguments = (f"--config={config}",)
        made.start()
        paths = made.lab.router.rib()[VIP_ROUTE]
        assert len(paths) == 2
        for path in paths:
            assert path.communities == ("64512:7", "64512:9")
            assert path.as_path == (64512,)
        assert send(made.lab.client, f"{VIP}:80", count=100).failed == 0
