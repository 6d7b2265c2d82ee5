"""``loadBalancerSourceRanges`` in the product: who is let in is served through every change, and nobody else."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import VIP, Cluster, Manifest
from tests.lab import SteadyTraffic, until

pytestmark = [pytest.mark.root, pytest.mark.lab]

CLIENT, STRANGER = "198.51.100.10", "198.51.100.11"

#: Prints what became of a request from this address within so many seconds.
_ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[2], 80), float(sys.argv[3]), source_address=(sys.argv[1], 0)) as made:
        made.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print("answered" if made.recv(100) else "empty")
except TimeoutError:
    print("silence")
"""


def asks(cluster: Cluster, client: str, patience: int = 15) -> str:
    return cluster.lab.client.run(["python3", "-c", _ASK, client, VIP, str(patience)]).stdout.strip()


def refused(cluster: Cluster) -> int:
    return sum(agent.status()["datapath"]["packets"]["source_not_allowed"] for agent in cluster.agents)


def let_in(cluster: Cluster, *ranges: str) -> None:
    def change(manifest: Manifest) -> None:
        manifest["spec"]["loadBalancerSourceRanges"] = list(ranges)

    def followed() -> bool:
        found = [frontend for agent in cluster.agents for frontend in agent.explain(VIP)["vips"][0]["frontends"]]
        return all((one["source_ranges"] or []) == list(ranges) and one["programmed"] for one in found)

    cluster.edit("service-web.yaml", change)
    until(followed, f"{ranges} are in the kernels", 20)


def test_only_who_is_let_in_is_served(running: Cluster) -> None:
    running.lab.client.run(["ip", "addr", "add", f"{STRANGER}/24", "dev", "eth0"])
    assert [asks(running, client) for client in (CLIENT, STRANGER)] == ["answered", "answered"]
    with SteadyTraffic(running.lab.client, f"{VIP}:80", rate=200) as steady:
        for ranges in ((f"{CLIENT}/32",), ("10.0.0.0/8", "198.51.100.0/29", f"{CLIENT}/32"), (f"{CLIENT}/32",)):
            let_in(running, *ranges)
            before = refused(running)
            assert asks(running, STRANGER, patience=1) == "silence"
            until(lambda before=before: refused(running) > before, "it is counted")  # type: ignore[misc]
        outcome = steady.stop()
    assert outcome.failed == 0, outcome
    running.await_vip()
    traced = running.agents[0].cli("trace", "--from", f"{STRANGER}:1", "--to", f"{VIP}:80").stdout
    assert "source_not_allowed" in traced
    assert f"source ranges {CLIENT}/32" in traced
    assert f"lets in {CLIENT}/32" in running.agents[0].cli("explain", VIP).stdout
    let_in(running)
    assert asks(running, STRANGER) == "answered"
