"""Maps that are too small, in the product: the one VIP that does not fit is withheld, and no other is harmed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, Manifest, cluster
from tests.lab import SteadyTraffic, until

pytestmark = [pytest.mark.root, pytest.mark.lab]

#: The VIP of the manifests has two frontends.
SMALL = ("--map-size=lb_frontends=4", "--map-size=lb_vips=4")
NAMES = {"203.0.113.11": "one", "203.0.113.12": "two"}


@pytest.fixture
def small() -> Iterator[Cluster]:
    with cluster() as made:
        for agent in made.agents:
            agent.arguments = SMALL
        made.start()
        yield made


def add(made: Cluster, vip: str, ports: int) -> None:
    """A Service with so many frontends, all to the Pods of ``web``."""
    name = NAMES[vip]
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": f"p{i}", "port": 80 + i} for i in range(ports)]},
        "status": {"loadBalancer": {"ingress": [{"ip": vip}]}},
    }
    for agent in made.agents:
        piece: Manifest = yaml.safe_load((agent.source / "endpointslice-web.yaml").read_text())
        piece["metadata"] = {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}}
        piece["ports"] = [{"name": f"p{i}", "port": 8080} for i in range(ports)]
        made.write(agent, f"{name}.yaml", yaml.safe_dump_all([service, piece]))


def withheld(made: Cluster, vip: str) -> list[str]:
    """The words of each agent, once it has said them."""

    def told() -> list[str]:
        details = [(agent.vip(vip) or {}).get("detail") or "" for agent in made.agents]
        return details if all("full" in detail for detail in details) else []

    return until(told, f"{vip} is withheld", 20)


def test_the_vip_that_does_not_fit_is_withheld_alone_and_comes_when_there_is_room(small: Cluster) -> None:
    with SteadyTraffic(small.lab.client, f"{VIP}:80", rate=100) as steady:
        add(small, "203.0.113.11", 3)
        assert "lb_frontends" in withheld(small, "203.0.113.11")[0]
        fib = small.lab.router.fib()
        assert VIP_ROUTE in fib
        assert "203.0.113.11/32" not in fib
        for agent in small.agents:
            (vip,) = agent.explain("203.0.113.11")["vips"]
            assert (vip["state"], vip["reason"]) == ("Withheld", "notProven")
            assert agent.vip(VIP)["state"] == "Announced"
        add(small, "203.0.113.11", 2)
        until(lambda: "203.0.113.11/32" in small.lab.router.fib(), "it is announced when it fits", 20)
        add(small, "203.0.113.12", 1)
        assert withheld(small, "203.0.113.12")
        small.delete("one.yaml")
        until(lambda: "203.0.113.12/32" in small.lab.router.fib(), "what goes makes room for another", 30)
        outcome = steady.stop()
    assert outcome.failed == 0, outcome


def test_other_sizes_than_those_of_the_pinned_maps_are_refused(small: Cluster) -> None:
    agent = small.agents[0]
    agent.terminate()
    agent.arguments = ("--map-size=lb_frontends=5", *SMALL[1:])
    agent.start()
    assert agent.wait() == 1
    assert "lb_frontends has max_entries 4, this version needs 5" in agent.log.read_text()
    assert small.next_hops == {node.address for node in small.lab.nodes}, "nothing was touched"
