"""Geneve with real sockets, over a network that carries nothing but packets between nodes."""

from __future__ import annotations

import socket

import pytest

from announcer.model.lb import Frontend, Mode
from announcer.model.net import Protocol
from tests.datapath.cluster import Cluster, assert_echoed, assert_served, pod
from tests.datapath.netns import ip, run
from tests.datapath.node import CLIENT, VIP, eventually, frontend

pytestmark = pytest.mark.root

TCP_PORT, UDP_PORT = 8080, 5353
HEADERS = 44


def tcp(*pods: int, mode: Mode = Mode.GENEVE) -> Frontend:
    return frontend(*(pod(i, TCP_PORT, mode) for i in pods), mode=mode)


def udp(*pods: int) -> Frontend:
    return frontend(*(pod(i, UDP_PORT, Mode.GENEVE) for i in pods), port=53, protocol=Protocol.UDP, mode=Mode.GENEVE)


@pytest.fixture
def overlay(cluster: Cluster) -> Cluster:
    """Only nodes know where Pods are: the router would have to ask, and nodes do not ask each other."""
    for i in range(2):
        ip(cluster.router, [f"route del 10.244.{i + 1}.0/24"])
        ip(cluster.nodes[i], [f"route del 10.244.{2 - i}.0/24"])
    return cluster


def arrived(cluster: Cluster) -> bool:
    """Whether n2 took out all that n1 sent: one is read after the other, and acknowledgements come late."""
    first, second = cluster.counters()
    return second["decapsulated"] == first["geneve_tx"] > 0


def greet(cluster: Cluster) -> str:
    with cluster.socket(socket.SOCK_STREAM) as client:
        client.connect((str(VIP), 80))
        return client.makefile().readline().strip()


def test_a_large_transfer_both_ways(overlay: Cluster) -> None:
    overlay.pod_server(1, socket.SOCK_STREAM, TCP_PORT)
    overlay.serve(tcp(1))
    with overlay.socket(socket.SOCK_STREAM) as client:
        assert_served(client, (str(VIP), 80), f"p2 {CLIENT}")
    eventually(lambda: arrived(overlay), "all that was sent arrived, once")
    first, second = overlay.counters()
    assert second["reply"] > 0, "the pod's node answers the client itself"
    assert {counters[name] for counters in (first, second) for name in ("geneve_stray", "geneve_damaged")} == {0}


def test_without_it_the_pod_is_out_of_reach(overlay: Cluster) -> None:
    """The control: by IP in IP the packet is for an address that the network does not know."""
    overlay.pod_server(1, socket.SOCK_STREAM, TCP_PORT)
    overlay.serve(tcp(1, mode=Mode.DSR))
    with overlay.socket(socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
            client.connect((str(VIP), 80))
    assert overlay.counters()[1]["decapsulated"] == 0
    overlay.serve(tcp(1))
    assert greet(overlay) == f"p2 {CLIENT}"


def test_datagrams_and_their_fragments(overlay: Cluster) -> None:
    overlay.pod_server(1, socket.SOCK_DGRAM, UDP_PORT)
    overlay.serve(udp(1))
    with overlay.socket(socket.SOCK_DGRAM) as client:
        for size in (0, 1, 1000, 1400, 5000):
            question = bytes(size)
            client.sendto(question, (str(VIP), 53))
            assert client.recvfrom(65536) == (f"p2 {CLIENT} ".encode() + question, (str(VIP), 53))


def test_pods_on_both_nodes_serve(overlay: Cluster) -> None:
    for i in range(2):
        overlay.pod_server(i, socket.SOCK_STREAM, TCP_PORT)
    overlay.serve(tcp(0, 1))
    assert {greet(overlay) for _ in range(60)} == {f"p1 {CLIENT}", f"p2 {CLIENT}"}


def test_a_client_is_told_what_would_fit(overlay: Cluster) -> None:
    """Between nodes packets may be no larger than from clients."""
    for i in range(2):
        ip(overlay.nodes[i], ["link set eth0 mtu 1500"])
    overlay.pod_server(1, socket.SOCK_STREAM, TCP_PORT)
    overlay.serve(tcp(1))
    with overlay.socket(socket.SOCK_STREAM) as client:
        assert_served(client, (str(VIP), 80), f"p2 {CLIENT}")
    assert overlay.counters()[0]["mtu_answer"] > 0
    assert f"mtu {1500 - HEADERS}" in run("ip", "route", "get", str(VIP), netns=overlay.client)


def test_connections_go_on_when_the_mode_changes_to_the_other_tunnel(cluster: Cluster) -> None:
    cluster.pod_server(1, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(1, mode=Mode.DSR))
    with cluster.socket(socket.SOCK_STREAM) as client:
        client.connect((str(VIP), 80))
        stream = client.makefile("rwb")
        stream.readline()
        for mode in (Mode.GENEVE, Mode.DSR, Mode.GENEVE):
            cluster.serve(tcp(1, mode=mode))
            assert_echoed(client, stream)
    first = cluster.counters()[0]
    assert first["geneve_tx"] > 0
    assert first["remote_tx"] > 0
