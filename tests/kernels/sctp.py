"""SCTP with the kernel's own endpoints (RFC 9260): an association through a VIP, by DSR and SNAT, near and far.

Only `make test-kernels` runs this file: kernels of small virtual machines do not speak SCTP, Debian's do.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from announcer.model.lb import Mode
from announcer.model.net import Protocol
from tests.datapath.cluster import Cluster, assert_served, pod, running
from tests.datapath.netns import Names, run
from tests.datapath.node import CLIENT, NODE, VIP, frontend

pytestmark = pytest.mark.root

PORT, POD_PORT = 2905, 9000


@pytest.fixture
def cluster(names: Names, built: None) -> Iterator[Cluster]:
    with running(Cluster(names)) as made:
        yield made


@pytest.mark.parametrize("checksums", ["of the pod", "left to the device"])
@pytest.mark.parametrize(
    ("where", "mode", "seen"),
    [(0, Mode.DSR, CLIENT), (1, Mode.DSR, CLIENT), (1, Mode.SNAT, NODE)],
    ids=["local", "remote-dsr", "remote-snat"],
)
def test_an_association_both_ways(cluster: Cluster, where: int, mode: Mode, seen: object, checksums: str) -> None:
    """A mebibyte comes back as it went. The client has one address: an association of several is not one flow."""
    if checksums == "left to the device":
        run("ethtool", "-K", "eth0", "tx", "on", netns=cluster.pods[where])
        # The node's card, which fills it in: no wire carries a packet without.
        run("ethtool", "-K", "eth0", "tx", "off", netns=cluster.nodes[where])
    cluster.pod_server(where, socket.SOCK_STREAM, POD_PORT, socket.IPPROTO_SCTP)
    cluster.serve(frontend(pod(where, POD_PORT), port=PORT, protocol=Protocol.SCTP, mode=mode))
    with cluster.socket(socket.SOCK_STREAM, socket.IPPROTO_SCTP) as client:
        client.bind((str(CLIENT), 0))
        assert_served(client, (str(VIP), PORT), f"p{where + 1} {seen}")
    verdict = "local" if where == 0 else "remote_tx" if mode is Mode.DSR else "snat_tx"
    assert cluster.counters()[0][verdict] > 10
