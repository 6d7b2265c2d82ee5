"""Two nodes with a pod each behind a router with a client: real packets through real devices.

::

    c 198.51.100.10 ── r 192.168.1.11 ══ bridge ══ n1 192.168.1.21 ── p1 10.244.1.10
                                               ╚══ n2 192.168.1.22 ── p2 10.244.2.10

Sockets are made by the test's thread inside the namespace that they belong to; servers are threads of the test process.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from ipaddress import IPv4Address

import msgspec

from announcer.model.lb import Backend, Frontend, Mode
from announcer.model.observed import OutcomeState
from announcer.model.steps import AttachDevices
from datapath.hand import Datapath
from datapath.limits import Limits
from tests.datapath.netns import Names, entered, ip, pass_program, run
from tests.datapath.node import done, eventually, program, verify

LIMITS = Limits(frontends=64, vips=64, row_pages=256, backends=64, decaps=64, replies=1024)
TIMEOUT = 10.0


class Cluster:
    """``datapaths[i]`` is the one of node i (0 or 1); call it inside ``at(i)``."""

    #: As ``--devices`` lists them; None: by routes.
    devices: Sequence[str] | None = None

    def __init__(self, names: Names, tcx: bool | None = None, limits: Limits = LIMITS) -> None:
        """``tcx``, ``limits`` as in ``Datapath``."""
        self.names = names
        self._tcx = tcx
        self._limits = limits
        self.router, self.client = names.netns("r"), names.netns("c")
        self.nodes = [names.netns("n1"), names.netns("n2")]
        self.pods = [names.netns("p1"), names.netns("p2")]
        self.datapaths: list[Datapath] = []
        self._cleanup = contextlib.ExitStack()
        self._pass = pass_program(names.folder)
        ip(self.router, ["link add br0 type bridge", "link set br0 up"])
        self._gateway()
        for i in range(2):
            self._uplink(i)
            self._node(i)
        for i in range(2):
            ip(self.nodes[i], [f"route add 10.244.{2 - i}.0/24 via 192.168.1.2{2 - i}"])
            ip(self.router, [f"route add 10.244.{i + 1}.0/24 via 192.168.1.2{i + 1}"])
        ip(self.client, [f"link add eth0 type veth peer name ec netns {self.router}"])
        ip(
            self.client,
            ["addr add 198.51.100.10/24 dev eth0", "addr add 198.51.100.11/24 dev eth0", "link set eth0 up"],
        )
        ip(
            self.router,
            ["addr add 198.51.100.1/24 dev ec", "link set ec up", "route add 203.0.113.0/24 via 192.168.1.21"],
        )
        ip(self.client, ["route add default via 198.51.100.1"])
        run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", netns=self.client)

    def _gateway(self) -> None:
        """The router's address towards the nodes."""
        ip(self.router, ["addr add 192.168.1.11/24 dev br0"])

    def _uplink(self, i: int) -> None:
        """How node i is connected to the router."""
        self._cable(i, "eth0", f"e{i}")
        self._address(i, "eth0")

    def _address(self, i: int, device: str) -> None:
        ip(self.nodes[i], [f"addr add 192.168.1.2{i + 1}/24 dev {device}", f"link set {device} up"])
        ip(self.nodes[i], ["route add default via 192.168.1.11"])

    def _cable(self, i: int, device: str, end: str) -> None:
        """Between node i and the bridge of the router."""
        ip(self.nodes[i], [f"link add {device} mtu 1600 type veth peer name {end} mtu 1600 netns {self.router}"])
        ip(self.router, [f"link set {end} master br0 up"])
        # A veth takes what its peer's XDP program sends back (XDP_TX) only if it runs an XDP program itself.
        run("ip", "link", "set", end, "xdpdrv", "obj", str(self._pass), "sec", "xdp", netns=self.router)

    def _node(self, i: int) -> None:
        node, pod = self.nodes[i], self.pods[i]
        ip(pod, [f"link add eth0 type veth peer name pod netns {node}"])
        ip(node, [f"addr add 10.244.{i + 1}.1/24 dev pod", "link set pod up"])
        ip(
            pod,
            [f"addr add 10.244.{i + 1}.10/24 dev eth0", "link set eth0 up", f"route add default via 10.244.{i + 1}.1"],
        )
        run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", netns=pod)

    def start(self) -> None:
        """Both datapaths, attached."""
        for i in range(2):
            self.datapaths.append(self.agent(i))

    def agent(self, i: int) -> Datapath:
        """A datapath of node i, open and attached; closed at the end of the test."""
        with self.at(i):
            bpffs = self.names.folder / f"bpf{i}"
            made = Datapath(bpffs=bpffs, limits=self._limits, tcx=self._tcx, devices=self.devices)
            made.open()
            self._cleanup.callback(made.close)
            done(made.apply(AttachDevices(lane="devices")))
        return made

    @contextlib.contextmanager
    def at(self, i: int) -> Iterator[Datapath | None]:
        with entered(self.nodes[i]):
            yield self.datapaths[i] if i < len(self.datapaths) else None

    def serve(self, wanted: Frontend) -> None:
        """Both nodes hold the frontend, each with its own idea of which backends are local, and have proved it."""
        for i, datapath in enumerate(self.datapaths):
            with self.at(i):
                mine = seen_from(i, wanted)
                done(program(datapath, mine))
                eventually(lambda d=datapath, f=mine: verify(d, f).state is OutcomeState.DONE, "proof")  # type: ignore[misc]

    def counters(self) -> list[dict[str, int]]:
        return [datapath.counters() for datapath in self.datapaths]

    def pod_server(self, i: int, kind: socket.SocketKind, port: int, protocol: int = 0) -> socket.socket:
        """An echo server in a pod that begins its answers with the name of the pod. ``protocol`` as of ``socket``."""
        with entered(self.pods[i]):
            server = socket.socket(socket.AF_INET, kind, protocol)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((f"10.244.{i + 1}.10", port))
        self._cleanup.callback(server.close)
        if kind is socket.SOCK_STREAM:
            server.listen(128)
            threading.Thread(target=_tcp, args=(server, f"p{i + 1}"), daemon=True).start()
        else:
            threading.Thread(target=_udp, args=(server, f"p{i + 1}"), daemon=True).start()
        if protocol == socket.IPPROTO_SCTP:
            server.settimeout(TIMEOUT)  # a socket that listens knows no shutdown there; the thread ends by itself
        elif kind is socket.SOCK_STREAM:
            self._cleanup.callback(server.shutdown, socket.SHUT_RDWR)
        return server

    def socket(self, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A client's socket."""
        with entered(self.client):
            made = socket.socket(socket.AF_INET, kind, protocol)
        made.settimeout(TIMEOUT)
        self._cleanup.callback(made.close)
        return made

    def close(self) -> None:
        self._cleanup.close()


def pod(i: int, port: int, mode: Mode = Mode.DSR) -> Backend:
    """The backend in pod i, as other nodes see it."""
    node = IPv4Address(f"192.168.1.2{i + 1}") if mode is Mode.GENEVE else None
    return Backend(IPv4Address(f"10.244.{i + 1}.10"), port, False, node)


def seen_from(node: int, wanted: Frontend) -> Frontend:
    def see(backend: Backend) -> Backend:
        if str(backend.address) == f"10.244.{node + 1}.10":
            return msgspec.structs.replace(backend, local=True, node=None)
        return backend

    return msgspec.structs.replace(wanted, backends=tuple(sorted(map(see, wanted.backends))))


def _tcp(server: socket.socket, name: str) -> None:
    def one(connection: socket.socket, peer: tuple[str, int]) -> None:
        with connection:
            connection.sendall(f"{name} {peer[0]}\n".encode())
            while data := connection.recv(65536):
                connection.sendall(data)

    with contextlib.suppress(OSError):
        while True:
            connection, peer = server.accept()
            threading.Thread(target=one, args=(connection, peer), daemon=True).start()


def _udp(server: socket.socket, name: str) -> None:
    """``big N`` is answered with N bytes."""
    with contextlib.suppress(OSError):
        while True:
            data, peer = server.recvfrom(65536)
            size = int(data[4:]) if data.startswith(b"big ") else 0
            server.sendto(bytes(size) or f"{name} {peer[0]} ".encode() + data, peer)


@contextlib.contextmanager
def running(made: Cluster) -> Iterator[Cluster]:
    """It is started here, and closed at the end however far it came."""
    try:
        made.start()
        yield made
    finally:
        made.close()


def assert_served(client: socket.socket, to: tuple[str, int], greeting: str) -> None:
    """A pod answers at ``to``, greets with these words, and a mebibyte comes back as it went."""
    client.connect(to)
    stream = client.makefile("rwb")
    assert stream.readline() == f"{greeting}\n".encode()
    assert_echoed(client, stream)


def assert_echoed(client: socket.socket, stream: BufferedIOBase) -> None:
    """A mebibyte comes back as it went. ``stream`` reads from ``client``."""
    blob = bytes(range(256)) * 4096
    received = bytearray()
    for at in range(0, len(blob), 65536):
        client.sendall(blob[at : at + 65536])
        received += stream.read(65536)
    assert bytes(received) == blob
