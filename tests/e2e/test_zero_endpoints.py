"""Nobody serves a VIP that is to stay: clients of both families and protocols are told so at once. Pings are off."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import VIP, Cluster, Manifest
from tests.e2e.dual_stack import VIP6, dual_stack_cluster
from tests.e2e.test_dual_stack import PING
from tests.lab import until

pytestmark = [pytest.mark.root, pytest.mark.lab]

#: Arguments: kind, address, port, patience in seconds. Prints what became of a connection or a datagram.
_TRY = """
import socket, sys
kind, address, port = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM, sys.argv[2], int(sys.argv[3])
one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
one.settimeout(float(sys.argv[4]))
try:
    one.connect((address, port))
    one.send(b"anybody?")
    print(len(one.recv(100)), "bytes")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with dual_stack_cluster("bird", ("--no-icmp-echo",)) as made:
        yield made


def outcome(made: Cluster, protocol: str, vip: str, patience: int = 2) -> str:
    port = "80" if protocol == "tcp" else "53"
    return made.lab.client.run([sys.executable, "-I", "-c", _TRY, protocol, vip, port, str(patience)]).stdout.strip()


def refused(made: Cluster, protocol: str, vip: str) -> bool:
    return outcome(made, protocol, vip) == "ConnectionRefusedError"


def _keep(manifest: Manifest) -> None:
    manifest["metadata"].setdefault("annotations", {})["lockstep/zero-endpoints"] = "keep"


def _withdraw(manifest: Manifest) -> None:
    manifest["metadata"]["annotations"]["lockstep/zero-endpoints"] = "withdraw"


def _nobody(manifest: Manifest) -> None:
    manifest["endpoints"] = []


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_no_ping_is_answered(made: Cluster, vip: str) -> None:
    """Control: ``test_a_vip_answers_ping``."""
    before = counted(made, "icmp")
    done = made.lab.client.run([sys.executable, "-I", "-c", PING, vip, "1"], check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert counted(made, "icmp") == before + 1


def counted(made: Cluster, reason: str) -> float:
    return sum(agent.metrics()[f'lockstep_datapath_packets_total{{verdict="{reason}"}}'] for agent in made.agents)


def test_connections_and_datagrams_are_refused(made: Cluster) -> None:
    """And the route stays; with `withdraw` instead it goes, and nobody answers at all."""
    assert outcome(made, "udp", VIP, patience=15).endswith("bytes")
    hops = made.next_hops
    made.edit("service-web.yaml", _keep)
    for file in ("endpointslice-web.yaml", "endpointslice-web6.yaml"):
        made.edit(file, _nobody)
    for vip in (VIP, VIP6):
        for protocol in ("tcp", "udp"):
            until(lambda v=vip, p=protocol: refused(made, p, v), f"{protocol} to {vip} is refused", 20)  # type: ignore[misc]
    assert made.next_hops == hops
    assert counted(made, "rejected") >= 4
    made.edit("service-web.yaml", _withdraw)
    made.await_no_vip()
    assert not refused(made, "tcp", VIP)
