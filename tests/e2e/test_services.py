"""What a Service asks for, in the product: traffic policy Local through a rolling update, and its health check."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.e2e.cluster import VIP, Cluster, Manifest
from tests.lab import Node, until
from tests.lab.traffic import SteadyTraffic

pytestmark = [pytest.mark.root, pytest.mark.lab]

HEALTH_PORT = 32123


#: Prints the status and the body; nothing while nobody answers.
_ASK = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
except OSError:
    sys.exit()
print(answer.status, answer.read().decode())
"""


def health(cluster: Cluster, node: Node) -> tuple[int, dict[str, Any]]:
    """What a load balancer in front of the nodes is told; status 0 while nobody answers."""
    url = f"http://{node.address}:{HEALTH_PORT}/"
    done = cluster.lab.client.run([sys.executable, "-I", "-c", _ASK, url])
    status, _, body = done.stdout.partition(" ")
    return int(status or 0), json.loads(body) if body else {}


def test_a_rolling_update_under_policy_local_refuses_nothing(running: Cluster) -> None:
    """The Pods of n2 terminate and still answer: n2 stops attracting, serves what still comes, and says so."""
    first, second = running.lab.nodes

    def local(manifest: Manifest) -> None:
        manifest["spec"] |= {"externalTrafficPolicy": "Local", "healthCheckNodePort": HEALTH_PORT}

    def terminate(manifest: Manifest) -> None:
        for endpoint in manifest["endpoints"]:
            if endpoint["addresses"][0].startswith("10.244.2."):
                endpoint["conditions"] = {"ready": False, "serving": True, "terminating": True}

    running.edit("service-web.yaml", local)
    for node in running.lab.nodes:
        until(lambda node=node: health(running, node)[0] == 200, f"{node.name} is healthy")  # type: ignore[misc]
    assert running.next_hops == {first.address, second.address}
    with SteadyTraffic(running.lab.client, f"{VIP}:80", rate=200) as steady:
        running.edit("endpointslice-web.yaml", terminate)
        until(lambda: running.next_hops == {first.address}, "only n1 attracts the VIP")
        until(lambda: health(running, second)[0] == 503, "n2 tells load balancers as well")
        outcome = steady.stop()
    # A connection that is under way when the router moves its flow from n2 to n1 is lost there, whoever does what.
    assert set(outcome.errors) <= {"Connection reset by peer"}, outcome
    assert running.agents[1].vip(VIP)["reason"] == "noLocalEndpoints"
    answer = health(running, second)[1]
    assert answer == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": 0,
        "serviceProxyHealthy": True,
        "reason": "noLocalEndpoints",
    }
    assert health(running, first)[1]["localEndpoints"] == 2
    (vip,) = running.agents[1].explain(VIP)["vips"]
    assert [len(frontend["backends"]) for frontend in vip["frontends"]] == [2, 2], "what still arrives is still served"


def test_with_the_last_endpoints_terminating_the_vip_stays(running: Cluster) -> None:
    """Control of the test above: where nobody has a ready endpoint, those that still answer are the best there is."""

    def terminate(manifest: Manifest) -> None:
        for endpoint in manifest["endpoints"]:
            endpoint["conditions"] = {"ready": False, "serving": True, "terminating": True}

    def gone(manifest: Manifest) -> None:
        manifest["endpoints"] = []

    with SteadyTraffic(running.lab.client, f"{VIP}:80", rate=200) as steady:
        running.edit("endpointslice-web.yaml", terminate)
        running.await_serving(4)
        outcome = steady.stop()
    assert outcome.failed == 0, outcome
    assert len(running.next_hops) == 2
    running.edit("endpointslice-web.yaml", gone)
    running.await_no_vip()
