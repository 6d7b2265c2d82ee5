"""The lab does what the demo, the tests and the benchmarks rely on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab, LabError, Node, pod_server, send, until
from tests.lab.journal import RouteJournal
from tests.lab.lab import FORWARDING_ROUTERS, RouterKind
from tests.lab.speaker import start_speaker
from tests.lab.traffic import SteadyTraffic

pytestmark = [pytest.mark.root, pytest.mark.lab]

VIP = "203.0.113.10/32"
ATTRIBUTES = "med 5 local-preference 150 community [64512:100 no-export] large-community [64512:1:2]"

# Sends one UDP datagram that must not be fragmented (IP_MTU_DISCOVER 10, IP_PMTUDISC_DO 2), prints the answer's size.
ASK_ONCE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)
s.settimeout(15)
s.sendto(bytes(int(sys.argv[2])), (sys.argv[1], 5353))
print(len(s.recv(4096)))
"""


@pytest.fixture(params=FORWARDING_ROUTERS)
def router(request: pytest.FixtureRequest) -> RouterKind:
    kind: RouterKind = request.param
    return kind


@pytest.fixture(scope="module")
def routed() -> Iterator[Lab]:
    """A lab whose router knows every Pod CIDR without BGP."""
    with Lab() as lab:
        for node in lab.nodes:
            lab.router.run(["ip", "route", "add", node.pod_cidr, "via", node.address])
        yield lab


def snmp(host: Host, protocol: str) -> dict[str, int]:
    """Return the counters of RFC 4293 and RFC 4022 that the kernel keeps for this host."""
    text = host.run(["cat", "/proc/net/snmp"]).stdout
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith(f"{protocol}:"))
    return dict(zip(names, map(int, values), strict=True))


def until_more(host: Host, counter: str) -> None:
    """Wait until a counter of TCP has grown."""
    before = snmp(host, "Tcp")[counter]
    until(lambda: snmp(host, "Tcp")[counter] > before, f"more {counter} on {host.name}")


def announce(lab: Lab, node: Node) -> None:
    start_speaker(lab, node, {node.pod_cidr: "", VIP: ATTRIBUTES})


@pytest.mark.parametrize("node_asn", [64512, 64513], ids=["ibgp", "ebgp"])
def test_router_installs_what_the_nodes_announce(router: RouterKind, node_asn: int) -> None:
    with Lab(router, node_asn=node_asn) as lab:
        n1, n2 = lab.nodes
        assert lab.router.sessions() == {n1.address: "Active", n2.address: "Active"}
        assert lab.router.fib() == {}
        announce(lab, n1)
        announce(lab, n2)
        expected = {
            n1.pod_cidr: frozenset({n1.address}),
            n2.pod_cidr: frozenset({n2.address}),
            VIP: frozenset({n1.address, n2.address}),
        }
        until(lambda: lab.router.fib() == expected, "routes with two next hops")
        assert lab.router.sessions() == {n1.address: "Established", n2.address: "Established"}


@pytest.mark.parametrize("node_asn", [64512, 64513], ids=["ibgp", "ebgp"])
def test_both_routers_tell_the_attributes_in_the_same_shape(router: RouterKind, node_asn: int) -> None:
    with Lab(router, nodes=1, pods=0, node_asn=node_asn) as lab:
        (node,) = lab.nodes
        announce(lab, node)
        (path,) = until(lambda: lab.router.rib().get(VIP, ()), "the VIP in the RIB")
        assert (path.peer, path.next_hop) == (node.address, node.address)
        assert path.as_path == (() if node_asn == 64512 else (64513,))
        assert path.med == 5
        assert path.communities == ("64512:100", "no-export")
        assert path.large_communities == ("64512:1:2",)
        if node_asn == 64512:  # LOCAL_PREF does not cross an AS border (RFC 4271 section 5.1.5)
            assert path.local_pref == 150


def test_routes_go_with_their_session(router: RouterKind) -> None:
    with Lab(router, pods=0) as lab:
        n1, n2 = lab.nodes
        speaker = start_speaker(lab, n1, {VIP: ""})
        start_speaker(lab, n2, {VIP: ""})
        until(lambda: len(lab.router.fib().get(VIP, ())) == 2, "two next hops")
        speaker.kill()
        speaker.wait()
        until(lambda: lab.router.fib() == {VIP: frozenset({n2.address})}, "only the other node")
        assert lab.router.sessions()[n1.address] != "Established"


def test_router_can_crash_and_come_back(router: RouterKind) -> None:
    with Lab(router, nodes=1, pods=0) as lab:
        (node,) = lab.nodes
        announce(lab, node)
        until(lambda: VIP in lab.router.rib(), "the VIP")
        lab.router.stop()
        with pytest.raises(LabError):
            lab.router.rib()
        lab.router.start()
        until(lambda: VIP in lab.router.rib(), "the VIP after the restart", 30)


@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_client_reaches_every_pod(routed: Lab, protocol: str) -> None:
    port = {"http": 8080, "udp": 5353}[protocol]
    for pod in routed.pods:
        traffic = send(routed.client, f"{pod.address}:{port}", count=20, protocol="http" if port == 8080 else "udp")
        assert (traffic.ok, traffic.failed, traffic.backends) == (20, 0, {pod.name: 20})
        assert traffic.clients == ({"198.51.100.10": 20} if protocol == "http" else {})


def test_ecmp_spreads_the_connections_of_one_client(routed: Lab) -> None:
    n1, n2 = routed.nodes
    ecmp = ["203.0.113.77", *(word for node in (n1, n2) for word in ("nexthop", "via", node.address))]
    routed.router.run(["ip", "route", "add", *ecmp])
    for node in (n1, n2):  # each node's host stack answers for the address with its own refusal
        node.run(["ip", "addr", "add", "203.0.113.77/32", "dev", "lo"])
    refused = send(routed.client, "203.0.113.77:80", count=100)
    assert refused.errors == {"Connection refused": 100}
    assert min(snmp(node, "Tcp")["OutRsts"] for node in (n1, n2)) >= 20


def test_unknown_address_of_a_pod_cidr_does_not_loop(routed: Lab) -> None:
    before = snmp(routed.router, "Ip")["ForwDatagrams"]
    assert send(routed.client, "10.244.1.250:80", count=1).errors == {"No route to host": 1}
    assert snmp(routed.router, "Ip")["ForwDatagrams"] - before < 10  # a loop would take the 64 hops of a packet's life


def test_stopped_pod_refuses_and_comes_back(routed: Lab) -> None:
    pod = routed.pods[0]
    target = f"{pod.address}:8080"
    with SteadyTraffic(routed.client, target, rate=200) as steady:
        routed.stop_pod(pod)
        assert send(routed.client, target, count=5).errors == {"Connection refused": 5}
        # Held until one of the steady requests has met it, and then until one has met the pod again.
        until_more(routed.client, "AttemptFails")
        routed.start_pod(pod)
        assert send(routed.client, target, count=5).ok == 5
        until_more(pod, "PassiveOpens")
        traffic = steady.stop()
    assert traffic.failed > 0
    assert traffic.ok > 0


def test_full_size_packets_fit_through_a_tunnel(routed: Lab) -> None:
    """The segment takes a packet of 1500 bytes inside an IPIP header (RFC 2003) in one piece, and has an end."""
    n1, n2 = routed.nodes
    server = [sys.executable, "-S", pod_server.__file__, "n2", "8080", "5353"]
    process = n2.popen(server, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    headers = 20 + 8  # IPv4, UDP
    echoed = n1.run([sys.executable, "-S", "-c", ASK_ONCE, n2.address, str(1520 - headers)])
    assert int(echoed.stdout) == len("n2 ") + 1520 - headers
    refused = n1.run([sys.executable, "-S", "-c", ASK_ONCE, n2.address, str(1601 - headers)], check=False)
    assert "Message too long" in refused.stderr


def test_wrong_size_is_refused_before_anything_is_made() -> None:
    with pytest.raises(ValueError, match="addresses for 200 nodes"):
        Lab(nodes=0)
    with pytest.raises(ValueError, match="address of a node"):
        Lab(router_address="192.168.1.21")


def test_journal_sees_a_route_that_was_away_for_a_moment(routed: Lab) -> None:
    n1, n2 = routed.nodes
    with RouteJournal(routed.router) as journal:
        for change in (f"add 203.0.113.5 via {n1.address}", "del 203.0.113.5", f"add 203.0.113.5 via {n2.address}"):
            routed.router.run(["ip", "route", *change.split()])
        changes = journal.changes("203.0.113.5/32")
    assert [(change.action, *change.next_hops) for change in changes] == [
        ("set", n1.address),
        ("deleted", n1.address),
        ("set", n2.address),
    ]
    assert [change.time for change in changes] == sorted(change.time for change in changes)
