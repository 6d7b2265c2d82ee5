"""A router and a node, and packets from the one through the other.

The programs at both ends take the time, when the first packet is made and when the last one arrives. The system call
that sends takes longer: when all have arrived it sleeps until the kernel has given up its buffers, 20 ms and more.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from pathlib import Path

from announcer.model.net import IPAddress
from datapath import shim
from datapath.maps import StatsMap
from tests.bench.packets import IPV4, PORT, Case
from tests.bench.testrun import send
from tests.bench.under_test import Scenes
from tests.datapath.netns import Names, entered, run
from tests.datapath.node import Node

PACKETS = 200_000
#: What of the packets has to arrive for a figure to mean something.
_ARRIVED = 0.999
#: ``struct flight`` of traffic.bpf.c.
_FLIGHT = struct.Struct("=QQII")


class Way:
    """One way of forwarding: a router and a node of its own. ``loaded``: the programs of ``traffic.bpf.c``."""

    def __init__(self, obj: Path, to: IPAddress) -> None:
        """``to``: where packets go, the address of the first service or of a backend."""
        self._names = Names()
        self.node = Node(self._names)
        self._to = to
        self.loaded = shim.open_object(obj)
        shim.load(self.loaded)
        self._scenes = Scenes(self.loaded)
        self._generate = shim.prog_fd(self.loaded, "generate")
        self._arrived = StatsMap("arrived", shim.map_fd(self.loaded, "arrived"))
        self._flights = shim.map_fd(self.loaded, "flights")
        settings = [f"net.ipv4.conf.{name}.send_redirects=0" for name in ("all", "default", "eth0")]
        run("sysctl", "-qw", *settings, netns=self.node.netns)
        with entered(self.node.router):
            self._ifindex = socket.if_nametoindex("e0")
            self._links = [shim.attach_xdp(shim.prog_fd(self.loaded, "sink"), self._ifindex, generic=False)]
        with entered(self.node.netns):
            self._target = self.node.link().address
        # Frames of native XDP reach a veth only if it polls (NAPI): with a program of its own, or with GRO.
        run("ethtool", "-K", "eth0", "gro", "on", netns=self.node.netns)

    def arrived(self) -> int:
        """Packets for backends that came back so far."""
        return self._arrived.read()[0]

    def nanoseconds(self, *, flows: int, services: int, packets: int | None = None, within: float = 5.0) -> float:
        """Each of ``packets``, from the making of the first to the arrival of the last.

        Raises ``AssertionError`` if some do not ``within`` seconds.
        """
        packets = packets or PACKETS
        awaited, deadline = math.ceil(packets * _ARRIVED), time.monotonic() + within
        shim.update(self._flights, bytes(4), _FLIGHT.pack(0, 0, awaited, 0), "flights")
        self.send(flows=flows, services=services, packets=packets)
        while True:
            held = shim.lookup(self._flights, bytes(4), _FLIGHT.size, "flights")
            assert held is not None
            began, ended, _, came = _FLIGHT.unpack(held)
            if ended:
                return (int(ended) - int(began)) / awaited
            assert time.monotonic() < deadline, f"{came} of {packets} packets came back"

    def send(self, *, flows: int, services: int, packets: int) -> None:
        """Send so many. Raises ``OSError``."""
        case = Case(name="", family=IPV4, to=self._to, port=PORT, verdict=0)
        frame = case.frame(self._target)
        self._scenes.put(frame, flows=flows, services=services)
        with entered(self.node.router):
            send(self._generate, self._ifindex, frame, packets)

    def bounce(self) -> None:
        """Have the node send back whatever comes, and do nothing else. Called in its network namespace."""
        program = shim.prog_fd(self.loaded, "bounce")
        self._links.append(shim.attach_xdp(program, self.node.link().ifindex, generic=False))

    def close(self) -> None:
        """Remove all of it."""
        self.node.close()
        self._arrived.close()
        for link in self._links:
            os.close(link)
        shim.close_object(self.loaded)
        self._names.remove()
