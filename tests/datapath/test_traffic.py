"""Requests of a client through the VIP to pods, on this node and on another, and the way back."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from announcer.model.lb import Frontend
from announcer.model.net import Protocol
from tests.datapath.cluster import Cluster, assert_served, pod
from tests.datapath.netns import run
from tests.datapath.node import CLIENT, VIP, eventually, frontend

pytestmark = pytest.mark.root

TCP_PORT, UDP_PORT = 8080, 5353


def tcp(*pods: int) -> Frontend:
    return frontend(*(pod(i, TCP_PORT) for i in pods))


def udp(*pods: int) -> Frontend:
    return frontend(*(pod(i, UDP_PORT) for i in pods), port=53, protocol=Protocol.UDP)


def greet(cluster: Cluster) -> str:
    with cluster.socket(socket.SOCK_STREAM) as client:
        client.connect((str(VIP), 80))
        return client.makefile().readline().strip()


def ask(client: socket.socket, question: bytes, to: tuple[str, int] = (str(VIP), 53)) -> bytes:
    client.sendto(question, to)
    answer, sender = client.recvfrom(65536)
    assert sender == to
    return answer


@pytest.mark.parametrize("where", [0, 1], ids=["local", "remote"])
def test_tcp_both_ways(cluster: Cluster, where: int) -> None:
    cluster.pod_server(where, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(where))
    with cluster.socket(socket.SOCK_STREAM) as client:
        assert_served(client, (str(VIP), 80), f"p{where + 1} {CLIENT}")
    first, second = cluster.counters()
    assert (first["local"] > 0, first["remote_tx"] > 0, second["decapsulated"] > 0) == (
        where == 0,
        where == 1,
        where == 1,
    )
    # The pod's node answers the client directly.
    assert (first["reply"] > 0, second["reply"] > 0) == (where == 0, where == 1)


@pytest.mark.parametrize("where", [0, 1], ids=["local", "remote"])
def test_udp_both_ways(cluster: Cluster, where: int) -> None:
    cluster.pod_server(where, socket.SOCK_DGRAM, UDP_PORT)
    cluster.serve(udp(where))
    with cluster.socket(socket.SOCK_DGRAM) as client:
        for size in (0, 1, 2, 1000, 1400):
            question = bytes(size)
            assert ask(client, question) == f"p{where + 1} {CLIENT} ".encode() + question


def test_both_pods_take_their_share(cluster: Cluster) -> None:
    for i in range(2):
        cluster.pod_server(i, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(0, 1))
    answers = Counter(greet(cluster) for _ in range(60))
    assert answers.keys() == {f"p1 {CLIENT}", f"p2 {CLIENT}"}
    assert min(answers.values()) >= 10


def test_what_a_pod_says_to_others_is_not_touched(cluster: Cluster) -> None:
    """Also from the port that it serves on: the entry is for one client's port."""
    server = cluster.pod_server(0, socket.SOCK_DGRAM, UDP_PORT)
    cluster.serve(udp(0))
    with cluster.socket(socket.SOCK_DGRAM) as client, cluster.socket(socket.SOCK_DGRAM) as other:
        client.bind((str(CLIENT), 45000))
        assert ask(client, b"x")
        other.bind(("198.51.100.11", 45000))
        server.sendto(b"news", ("198.51.100.11", 45000))
        assert other.recvfrom(100) == (b"news", ("10.244.1.10", UDP_PORT))
        with cluster.socket(socket.SOCK_DGRAM) as same_host:
            same_host.bind((str(CLIENT), 45001))
            server.sendto(b"news", (str(CLIENT), 45001))
            assert same_host.recvfrom(100) == (b"news", ("10.244.1.10", UDP_PORT))
            # The pod's own address works as ever.
            assert ask(same_host, b"x", ("10.244.1.10", UDP_PORT)) == f"p1 {CLIENT} x".encode()


@pytest.mark.parametrize("uplink", ["on", "off"])
def test_a_checksum_that_is_left_to_the_device(cluster: Cluster, uplink: str) -> None:
    """The pod leaves it open (CHECKSUM_PARTIAL); if the uplink cannot fill it in, the kernel does, after us."""
    run("ethtool", "-K", "eth0", "tx", "on", "tso", "on", netns=cluster.pods[0])
    run("ethtool", "-K", "eth0", "tx", uplink, netns=cluster.nodes[0])
    cluster.pod_server(0, socket.SOCK_STREAM, TCP_PORT)
    cluster.pod_server(0, socket.SOCK_DGRAM, UDP_PORT)
    cluster.serve(tcp(0))
    cluster.serve(udp(0))
    assert greet(cluster) == f"p1 {CLIENT}"
    with cluster.socket(socket.SOCK_DGRAM) as client:
        assert ask(client, b"question") == f"p1 {CLIENT} question".encode()


def test_a_port_that_nothing_serves_is_dropped_and_does_not_loop(cluster: Cluster) -> None:
    cluster.serve(udp())
    with cluster.socket(socket.SOCK_DGRAM) as client:
        client.connect((str(VIP), 54))
        client.send(b"anybody?")
        eventually(lambda: cluster.counters()[0]["no_service"] == 1)
        client.connect((str(VIP), 53))
        client.send(b"anybody?")
        eventually(lambda: cluster.counters()[0]["no_backend"] == 1)
        # Time exceeded would come back as an error on the connected socket.
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)
    assert [cluster.counters()[0][reason] for reason in ("no_service", "no_backend")] == [1, 1]


@pytest.mark.parametrize("where", [0, 1], ids=["local", "remote"])
def test_fragments_find_their_way_in_both_directions(cluster: Cluster, where: int) -> None:
    cluster.pod_server(where, socket.SOCK_DGRAM, UDP_PORT)
    cluster.serve(udp(where))
    with cluster.socket(socket.SOCK_DGRAM) as client:
        assert ask(client, b"big 4000") == bytes(4000)
        question = bytes(range(256)) * 20
        assert ask(client, question) == f"p{where + 1} {CLIENT} ".encode() + question


def test_a_new_agent_loses_no_packet(cluster: Cluster) -> None:
    for i in range(2):
        cluster.pod_server(i, socket.SOCK_DGRAM, UDP_PORT)
    cluster.serve(udp(0, 1))
    with cluster.socket(socket.SOCK_DGRAM) as client:
        for turn in range(10):
            for i in range(2):
                assert ask(client, b"before").endswith(b"before")
                cluster.datapaths[i].close()
                assert ask(client, b"without").endswith(b"without")
                cluster.datapaths[i] = cluster.agent(i)
                assert ask(client, b"%d" % turn).endswith(b"%d" % turn)


def test_backends_change_under_traffic_and_no_connection_of_a_living_one_breaks(cluster: Cluster) -> None:
    for i in range(2):
        cluster.pod_server(i, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(0, 1))
    clients = []
    for _ in range(20):
        client = cluster.socket(socket.SOCK_STREAM)
        client.connect((str(VIP), 80))
        stream = client.makefile("rwb")
        clients.append((stream.readline(), stream))
    cluster.serve(tcp(0))
    mine = [stream for name, stream in clients if name.startswith(b"p1")]
    assert mine
    for stream in mine:
        stream.write(b"still there?\n")
        stream.flush()
        assert stream.readline() == b"still there?\n"
    assert {greet(cluster) for _ in range(20)} == {f"p1 {CLIENT}"}
