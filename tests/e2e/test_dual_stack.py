"""A Service with addresses of both families: announced, proven, and answering over both, by TCP and UDP."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import VIP, Cluster
from tests.e2e.dual_stack import VIP6, dual_stack_cluster
from tests.lab.traffic import SteadyTraffic, send

pytestmark = [pytest.mark.root, pytest.mark.lab]


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with dual_stack_cluster("bird") as made:
        yield made


@pytest.mark.parametrize("vip", [VIP, f"[{VIP6}]"], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(("port", "protocol"), [(80, "http"), (53, "udp")])
def test_every_pod_answers_over_both_families(made: Cluster, vip: str, port: int, protocol: str) -> None:
    traffic = send(made.lab.client, f"{vip}:{port}", count=200, protocol=protocol)  # type: ignore[arg-type]
    assert traffic.failed == 0, traffic.errors
    assert traffic.backends.keys() == {pod.name for pod in made.lab.pods}
    if protocol == "http":
        assert list(traffic.clients) == ["2001:db8:c::10" if ":" in vip else "198.51.100.10"]


#: There is no ping on every machine. Arguments: the address, and how many seconds to wait; prints the type of the
#: answer and where it came from.
PING = """
import socket, sys
six = ":" in sys.argv[1]
one = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1)
one.settimeout(float(sys.argv[2]))
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
    assert made.lab.client.run([sys.executable, "-I", "-c", PING, vip, "5"]).stdout.split() == [answer, vip]


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
