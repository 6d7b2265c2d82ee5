"""Two families in one session, from the bgp-config to a real router: what it holds is what ``lockstep routes`` says."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import VIP_ROUTE, Cluster, Manifest, cluster
from tests.lab import Node, SessionOptions, until

pytestmark = [pytest.mark.root, pytest.mark.lab]


def _dual_stack(manifest: Manifest) -> None:
    spec = manifest["spec"]
    number = spec["podCIDR"].split(".")[2]
    spec["podCIDRs"] = [spec["podCIDR"], f"2001:db8:244:{number}::/64"]


def _held_from(made: Cluster, node: Node) -> set[str]:
    """Prefixes that the router has heard from a node; the other one announces the VIP as well."""
    rib = made.lab.router.rib()
    return {prefix for prefix, paths in rib.items() if any(path.peer == node.address for path in paths)}


@pytest.mark.parametrize("router", ["bird", "frr", "gobgp"])
def test_the_router_holds_both_families_as_lockstep_says(router: str) -> None:
    with cluster(router, session=SessionOptions(families=("ipv4", "ipv6"))) as made:
        for node in made.lab.nodes:
            made.edit(f"node-{node.name}.yaml", _dual_stack)
        for agent in made.agents:
            text = (agent.source / "bgp-config.yaml").read_text()
            made.write(
                agent,
                "bgp-config.yaml",
                text.replace("my-asn: 64512", "my-asn: 64512\n        families: [ipv4, ipv6]"),
            )
            agent.start()
        for agent in made.agents:
            node = agent.node
            wanted = {VIP_ROUTE, node.pod_cidr, node.pod_cidr6}
            until(lambda node=node, wanted=wanted: wanted <= _held_from(made, node), "all routes of the node", 30)  # type: ignore[misc]
            agent.await_announced("203.0.113.10")
            (peer,) = agent.routes()["peers"]
            assert {route["prefix"] for route in peer["routes"]} == wanted
            for route in peer["routes"]:
                hop = node.address6 if ":" in route["prefix"] else node.address
                (path,) = [p for p in made.lab.router.rib()[route["prefix"]] if p.peer == node.address]
                said = route["attributes"]
                assert (path.next_hop, said["next_hop"]) == (hop, hop)
                assert (path.origin, path.med, path.as_path) == (said["origin"], said["med"], ())
            (seen,) = agent.status()["peers"]
            assert (seen["families"], seen["unusable_families"]) == (["ipv4", "ipv6"], {})
