"""SNAT with real sockets: the pod's node has nothing of ours that a reply needs, and the pod sees a node's address."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from announcer.model.lb import Frontend, LbMode, Mode
from announcer.model.net import Protocol
from tests.datapath.cluster import Cluster, assert_served, pod
from tests.datapath.netns import ip, run
from tests.datapath.node import CLIENT, NODE, VIP, frontend

pytestmark = pytest.mark.root

TCP_PORT, UDP_PORT = 8080, 5353
#: Who the pods see: the one on this node the client, the other one this node.
GREETINGS = {f"p1 {CLIENT}", f"p2 {NODE}"}


def tcp(*pods: int, mode: Mode = Mode.SNAT) -> Frontend:
    return frontend(*(pod(i, TCP_PORT) for i in pods), mode=mode)


def udp(*pods: int, mode: Mode = Mode.SNAT) -> Frontend:
    return frontend(*(pod(i, UDP_PORT) for i in pods), port=53, protocol=Protocol.UDP, mode=mode)


def connect(cluster: Cluster) -> tuple[str, socket.SocketIO]:
    """A connection, and what the pod greets with."""
    client = cluster.socket(socket.SOCK_STREAM)
    client.connect((str(VIP), 80))
    stream = client.makefile("rwb", buffering=0)
    return stream.readline().decode().strip(), stream


def ask(client: socket.socket, question: bytes) -> bytes:
    client.sendto(question, (str(VIP), 53))
    answer, sender = client.recvfrom(65536)
    assert sender == (str(VIP), 53)
    return answer


def test_a_large_transfer_both_ways(cluster: Cluster) -> None:
    cluster.pod_server(1, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(1))
    with cluster.socket(socket.SOCK_STREAM) as client:
        assert_served(client, (str(VIP), 80), f"p2 {NODE}")
    first, second = cluster.counters()
    assert first["snat_tx"] > 0
    assert first["snat_reply_tx"] > 0
    assert first["snat_reply_stack"] == 0
    # The other node only routes.
    assert {second[name] for name in ("local", "decapsulated", "reply", "remote_tx", "snat_tx")} == {0}


def test_datagrams_and_their_fragments(cluster: Cluster) -> None:
    cluster.pod_server(1, socket.SOCK_DGRAM, UDP_PORT)
    cluster.serve(udp(1))
    with cluster.socket(socket.SOCK_DGRAM) as client:
        for size in (0, 1, 2, 1000, 1400, 5000):
            question = bytes(size)
            assert ask(client, question) == f"p2 {NODE} ".encode() + question
        assert ask(client, b"big 4000") == bytes(4000)


def test_a_closed_port_is_told_to_the_client(cluster: Cluster) -> None:
    """By the pod's ICMP error about a packet that it got from the node."""
    cluster.serve(udp(1))
    with cluster.socket(socket.SOCK_DGRAM) as client:
        client.connect((str(VIP), 53))
        client.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)


def test_a_narrow_way_back_is_told_to_the_pod(cluster: Cluster) -> None:
    """By the router's ICMP error about an answer of the VIP's, which has to reach the pod through the node."""
    cluster.pod_server(1, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(1))
    ip(cluster.router, ["link set ec mtu 1300"])
    # The client sends small segments and asks for large ones.
    ip(cluster.client, ["route replace default via 198.51.100.1 mtu 1200 advmss 1460"])
    with cluster.socket(socket.SOCK_STREAM) as client:
        client.connect((str(VIP), 80))
        stream = client.makefile("rwb")
        stream.readline()
        blob = bytes(range(256)) * 64
        for _ in range(8):
            stream.write(blob)
            stream.flush()
            assert stream.read(len(blob)) == blob
    # That is who the pod talks to.
    assert "mtu 1300" in run("ip", "route", "get", str(NODE), netns=cluster.pods[1])


def test_backends_on_this_node_see_the_client(cluster: Cluster) -> None:
    for i in range(2):
        cluster.pod_server(i, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(0, 1))
    seen = Counter(connect(cluster)[0] for _ in range(60))
    assert seen.keys() == GREETINGS
    assert min(seen.values()) >= 10


def test_hybrid_is_dsr_for_tcp_and_snat_for_udp(cluster: Cluster) -> None:
    cluster.pod_server(1, socket.SOCK_STREAM, TCP_PORT)
    cluster.pod_server(1, socket.SOCK_DGRAM, UDP_PORT)
    cluster.serve(tcp(1, mode=LbMode.HYBRID.of(Protocol.TCP)))
    cluster.serve(udp(1, mode=LbMode.HYBRID.of(Protocol.UDP)))
    assert connect(cluster)[0] == f"p2 {CLIENT}"
    with cluster.socket(socket.SOCK_DGRAM) as client:
        assert ask(client, b"x") == f"p2 {NODE} x".encode()


def test_connections_live_through_new_agents_and_new_backends(cluster: Cluster) -> None:
    """200 of them, to two pods; the agent of the node is replaced, the pod on it goes, and comes again."""
    for i in range(2):
        cluster.pod_server(i, socket.SOCK_STREAM, TCP_PORT)
    cluster.serve(tcp(0, 1))
    held = [connect(cluster) for _ in range(200)]
    assert {name for name, _ in held} == GREETINGS

    def check(which: str) -> None:
        for name, stream in held:
            if name.startswith(which):
                stream.write(b"still there?\n")
                assert stream.readline() == b"still there?\n"

    check("p")
    cluster.datapaths[0].close()
    check("p")
    cluster.datapaths[0] = cluster.agent(0)
    check("p")
    cluster.serve(tcp(1))
    check("p2")
    cluster.serve(tcp(0, 1))
    check("p2")
    assert cluster.counters()[0]["no_snat_port"] == 0
