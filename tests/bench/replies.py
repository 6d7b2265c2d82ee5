"""What comes back from remote backends that were reached by SNAT: packets to ports of the node, one flow each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from announcer.model.lb import DEFAULT_SNAT_PORTS, Backend
from announcer.model.net import Protocol
from datapath import abi, encode, sieve
from datapath.hand import Datapath
from datapath.tables import coarse
from tests.bench.under_test import FRAME

if TYPE_CHECKING:
    from tests.bench.packets import Addresses

FLOWS = 1024


def frame(family: Addresses, to: bytes) -> bytes:
    """From the first backend to port 0 of the node; ``to`` is the device's address."""
    network, backend = IP if family.version == 4 else IPv6, family.remote[0]
    head = Ether(src="02:00:00:00:00:99", dst=to.hex(":"))
    packet = (
        head / network(src=str(backend.address), dst=str(family.node)) / TCP(sport=backend.port, flags="A", dport=0)
    )
    return bytes(packet).ljust(FRAME, b"x")


@contextlib.contextmanager
def known(datapath: Datapath, family: Addresses, port: int, device: int) -> Iterator[None]:
    """So many established flows to the first backend of the VIP, from just the ports that the packets go to.

    These are others than the node would choose, so meanwhile every port counts as one of those. ``port``: of the VIP.
    ``device``: by which the clients' packets come in.
    """
    maps, backend, seen = datapath._loaded.maps, family.remote[0], coarse(time.monotonic())
    heard = abi.SnatState.ANSWERED | abi.SnatState.ESTABLISHED
    for number in range(FLOWS):
        flow, owner = _keys(family, backend, port, _port(number))
        maps.snat_flows.put(flow, abi.SNAT_FLOW.pack(owner, seen, abi.SnatState.ESTABLISHED))
        maps.snat_ports.put(owner, abi.SNAT_PORT.pack(flow, seen, device, bytes(4), heard))
    sieve.answered_at(maps.sieve, 1, 65535)
    try:
        yield
    finally:
        sieve.answered_at(maps.sieve, *DEFAULT_SNAT_PORTS)


def check(family: Addresses, number: int, port: int, packet: Packet) -> None:
    """It goes from the VIP to the client of this flow. Raises ``AssertionError``."""
    ends = (packet.src, packet.sport, packet.dst, packet.dport)
    client = int.from_bytes(_port(number), "big")
    assert (ip_address(ends[0]), ends[1]) == (family.vip, port), f"an answer from {ends[0]}:{ends[1]}"
    assert (ip_address(ends[2]), ends[3]) == (family.client, client), f"an answer to {ends[2]}:{ends[3]}"


def _port(number: int) -> bytes:
    """The port of a flow, of the node and of the client, as ``next_packet`` of scene.h writes it."""
    return (number + 1).to_bytes(2, "little")


def _keys(family: Addresses, backend: Backend, port: int, own: bytes) -> tuple[bytes, bytes]:
    protocol, ports = Protocol.TCP.number, (encode.port_bytes(port), encode.port_bytes(backend.port))
    client, vip, remote, node = map(encode.address_bytes, (family.client, family.vip, backend.address, family.node))
    return (
        abi.FLOW_KEY.pack(client, vip, own, ports[0], protocol),
        abi.SNAT_KEY.pack(remote, node, ports[1], own, protocol),
    )
