"""A Service with addresses of both families: announced, proven, and answering over both, by TCP and UDP."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.cluster import VIP, Cluster, Manifest, cluster
from tests.lab import SessionOptions, until
from tests.lab.traffic import SteadyTraffic, send

pytestmark = [pytest.mark.root, pytest.mark.lab]

VIP6 = "2001:db8:f::10"


def _both_addresses(manifest: Manifest) -> None:
    spec = manifest["spec"]
    del spec["loadBalancerIP"]
    spec["ipFamilies"], spec["ipFamilyPolicy"] = ["IPv4", "IPv6"], "RequireDualStack"
    manifest["status"] = {"loadBalancer": {"ingress": [{"ip": VIP}, {"ip": VIP6}]}}


def _dual_stack(manifest: Manifest) -> None:
    spec = manifest["spec"]
    number = spec["podCIDR"].split(".")[2]
    spec["podCIDRs"] = [spec["podCIDR"], f"2001:db8:244:{number}::/64"]


def _slice6(made: Cluster) -> str:
    """The IPv6 addresses of the same pods."""
    agent = made.agents[0]
    manifest = yaml.safe_load((agent.source / "endpointslice-web.yaml").read_text())
    manifest["metadata"]["name"], manifest["addressType"] = "web-6", "IPv6"
    conditions = manifest["endpoints"][0]["conditions"]
    manifest["endpoints"] = [
        {"addresses": [str(pod.plan.address6)], "nodeName": node.name, "conditions": conditions}
        for node in made.lab.nodes
        for pod in node.pods
    ]
    text: str = yaml.safe_dump(manifest)
    return text


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with cluster("bird", session=SessionOptions(families=("ipv4", "ipv6"))) as made:
        for node in made.lab.nodes:
            made.edit(f"node-{node.name}.yaml", _dual_stack)
        made.edit("service-web.yaml", _both_addresses)
        text = _slice6(made)
        for agent in made.agents:
            config = (agent.source / "bgp-config.yaml").read_text()
            config = config.replace("my-asn: 64512", "my-asn: 64512\n        families: [ipv4, ipv6]")
            config = config.replace("- 203.0.113.0/28", '- 203.0.113.0/28\n          - "2001:db8:f::/112"')
            made.write(agent, "bgp-config.yaml", config)
            made.write(agent, "endpointslice-web6.yaml", text)
            agent.start()
        for agent in made.agents:
            for vip in (VIP, VIP6):
                agent.await_announced(vip, 30)
        wanted = frozenset(node.address6 for node in made.lab.nodes)
        until(lambda: made.lab.router.fib().get(f"{VIP6}/128") == wanted, "both next hops of the IPv6 VIP", 30)
        yield made


@pytest.mark.parametrize("vip", [VIP, f"[{VIP6}]"], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(("port", "protocol"), [(80, "http"), (53, "udp")])
def test_every_pod_answers_over_both_families(made: Cluster, vip: str, port: int, protocol: str) -> None:
    traffic = send(made.lab.client, f"{vip}:{port}", count=200, protocol=protocol)  # type: ignore[arg-type]
    assert traffic.failed == 0, traffic.errors
    assert traffic.backends.keys() == {pod.name for pod in made.lab.pods}
    if protocol == "http":
        assert list(traffic.clients) == ["2001:db8:c::10" if ":" in vip else "198.51.100.10"]


#: There is no ping on every machine. Arguments: the address; prints the type of the answer and where it came from.
PING = """
import socket, sys
six = ":" in sys.argv[1]
one = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1)
one.settimeout(5)
request = bytes([128 if six else 8, 0]) + (bytes(2) if six else b"\\xf7\\xfe") + bytes([0, 0, 0, 1])
one.sendto(request, (sys.argv[1], 0))
while True:
    data, sender = one.recvfrom(2000)
    kind = data[0 if six else 20]
    if sender[0] == sys.argv[1] and kind in (0, 129):
        print(kind, sender[0])
        break
"""


@pytest.mark.parametrize(("vip", "answer"), [(VIP, "0"), (VIP6, "129")])
def test_a_vip_answers_ping(made: Cluster, vip: str, answer: str) -> None:
    assert made.lab.client.run([sys.executable, "-I", "-c", PING, vip]).stdout.split() == [answer, vip]


def test_ipv6_requests_are_answered_while_agents_restart(made: Cluster) -> None:
    with SteadyTraffic(made.lab.client, f"[{VIP6}]:80", rate=100) as load:
        for agent in made.agents:
            agent.terminate()
            agent.start()
            agent.await_announced(VIP6, 30)
        traffic = load.stop()
    assert traffic.failed == 0, traffic.errors
    assert traffic.ok > 50


def test_the_trace_of_an_ipv6_packet(made: Cluster) -> None:
    done = made.agents[0].cli("trace", "--from", "[2001:db8:c::10]:40000", "--to", f"[{VIP6}]:80", "--json")
    assert done.returncode == 0, done.stderr
    assert '"announced": true' in done.stdout or '"announced":true' in done.stdout
