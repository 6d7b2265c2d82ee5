"""Bonds, VLAN devices and VRFs with their real drivers: requests through a VIP, by native XDP where it can be.

Only `make test-kernels` runs this file: kernels of small virtual machines have no such drivers, Debian's have.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from announcer.model.lb import DeviceObserved, Hook
from announcer.model.net import Protocol
from datapath.devices import Detector
from datapath.notices import Notices
from datapath.rtnl import Rtnl
from tests.datapath.cluster import Cluster, pod, running
from tests.datapath.netns import Names, ip, run
from tests.datapath.node import CLIENT, VIP, eventually, frontend, observe

pytestmark = pytest.mark.root

PORT = 5353
SERVED = frontend(pod(1, PORT), port=53, protocol=Protocol.UDP)
NATIVE_MODES = ("active-backup", "balance-rr", "802.3ad")
#: LACP takes seconds to agree, and processors are emulated here.
LONG = 60.0


class Bonded(Cluster):
    """Both nodes are connected by a bond of two cables; packets reach a pod of the other node."""

    mode = "active-backup"

    def _uplink(self, i: int) -> None:
        self._bond(i)
        self._address(i, "bond0")

    def _bond(self, i: int) -> None:
        ports = [f"eth{number}" for number in range(2)]
        for number, port in enumerate(ports):
            self._cable(i, port, f"e{i}{number}")
            untouched(self.nodes[i], port)
            untouched(self.router, f"e{i}{number}")
        ends = "br0"
        if self.mode != "active-backup":
            ends = f"agg{i}"
            ip(self.router, [f"link add {ends} mtu 1600 type bond {self._options()}", f"link set {ends} master br0"])
            for number in range(2):
                ip(self.router, [f"link set e{i}{number} nomaster down"])
                ip(self.router, [f"link set e{i}{number} master {ends}", f"link set e{i}{number} up"])
            ip(self.router, [f"link set {ends} up"])
        ip(self.nodes[i], [f"link add bond0 mtu 1600 type bond {self._options()}"])
        ip(self.nodes[i], [f"link set {port} master bond0" for port in ports])
        ip(self.nodes[i], ["link set bond0 up"])

    def _options(self) -> str:
        return f"mode {self.mode} miimon 100" + (" lacp_rate fast" if self.mode == "802.3ad" else "")


class Tagged(Bonded):
    """All traffic of the nodes is in VLAN 100 on the bond, which has the program as well."""

    devices = ("bond0", "bond0.100")

    def _gateway(self) -> None:
        ip(self.router, ["link add link br0 name br0.100 type vlan id 100", "addr add 192.168.1.11/24 dev br0.100"])
        ip(self.router, ["link set br0.100 up"])

    def _uplink(self, i: int) -> None:
        self._bond(i)
        ip(self.nodes[i], ["link add link bond0 name bond0.100 type vlan id 100"])
        self._address(i, "bond0.100")


class Crossed(Tagged):
    """Clients come untagged by the bond, and the nodes speak with each other in VLAN 100."""

    def _gateway(self) -> None:
        Cluster._gateway(self)

    def _uplink(self, i: int) -> None:
        self._bond(i)
        self._address(i, "bond0")
        ip(self.nodes[i], ["link add link bond0 name bond0.100 type vlan id 100", "link set bond0.100 up"])
        ip(self.nodes[i], [f"addr add 172.16.0.2{i + 1}/24 dev bond0.100"])

    def start(self) -> None:
        for i in range(2):
            ip(self.nodes[i], [f"route replace 10.244.{2 - i}.0/24 via 172.16.0.2{2 - i}"])
        super().start()


class InVrf(Bonded):
    """The bond, and with it the way to the other node's pods, is in a VRF; so are the local pods."""

    def _uplink(self, i: int) -> None:
        self._bond(i)
        ip(self.nodes[i], ["link add red type vrf table 10", "link set red up", "link set bond0 master red"])
        ip(self.nodes[i], [f"addr add 192.168.1.2{i + 1}/24 dev bond0", "route add default via 192.168.1.11 table 10"])
        ip(self.nodes[i], ["rule add pref 32765 from all lookup 10"])

    def start(self) -> None:
        for i in range(2):
            ip(self.nodes[i], [f"route del 10.244.{2 - i}.0/24", "link set pod master red"])
            ip(self.nodes[i], [f"route add 10.244.{2 - i}.0/24 via 192.168.1.2{2 - i} table 10"])
        super().start()


def untouched(netns: str, device: str) -> None:
    """Tags stay in the frame, where XDP sees them."""
    run("ethtool", "-K", device, "rxvlan", "off", "txvlan", "off", netns=netns)


def bonded(mode: str) -> type[Bonded]:
    return type(f"Bonded in {mode}", (Bonded,), {"mode": mode})


@pytest.fixture
def cluster(request: pytest.FixtureRequest, names: Names, built: None) -> Iterator[Cluster]:
    with running(request.param(names)) as made:
        yield made


def devices(cluster: Cluster) -> dict[str, DeviceObserved]:
    with cluster.at(0):
        return observe(cluster.datapaths[0]).devices


def hooks(cluster: Cluster) -> dict[str, Hook | None]:
    return {name: device.hook for name, device in devices(cluster).items()}


def ask(cluster: Cluster, client: socket.socket) -> bool:
    """Whether the pod of the second node has answered through the first one."""
    client.sendto(b"question", (str(VIP), 53))
    try:
        return client.recvfrom(100) == (f"p2 {CLIENT} question".encode(), (str(VIP), 53))
    except TimeoutError:
        return False


def answered(cluster: Cluster, reason: str) -> None:
    """Requests come back, and the first node sent them on so."""
    cluster.pod_server(1, socket.SOCK_DGRAM, PORT)
    cluster.serve(SERVED)
    with cluster.socket(socket.SOCK_DGRAM) as client:
        client.settimeout(1.0)
        eventually(lambda: ask(cluster, client), "an answer", LONG)
        before = cluster.counters()[0]
        assert all(ask(cluster, client) for _ in range(10))
    after = cluster.counters()[0]
    moved = {name: after[name] - before[name] for name in after if after[name] - before[name] >= 10}
    assert moved.keys() - {"not_ours"} == {reason}, moved


@pytest.mark.parametrize("cluster", [bonded(mode) for mode in NATIVE_MODES], indirect=True, ids=NATIVE_MODES)
def test_a_bond_carries_the_program_natively(cluster: Bonded) -> None:
    """On the bond and not on its ports, and what is hairpinned leaves by a port that may send (XDP_TX)."""
    assert hooks(cluster) == {"bond0": Hook.XDP_NATIVE}
    answered(cluster, "remote_tx")
    if cluster.mode == "active-backup":
        for node in cluster.nodes:
            ip(node, ["link set bond0 type bond active_slave eth1"])
        with cluster.socket(socket.SOCK_DGRAM) as client:
            client.settimeout(1.0)
            eventually(lambda: ask(cluster, client), "an answer by the other port", LONG)


def test_a_bond_whose_mode_knows_no_xdp_gets_the_generic_hook(names: Names, built: None) -> None:
    made = bonded("balance-tlb")(names)
    try:
        made.datapaths.append(made.agent(0))
        assert hooks(made) == {"bond0": Hook.XDP_GENERIC}
    finally:
        made.close()


@pytest.mark.parametrize("cluster", [Tagged], indirect=True, ids=["tagged"])
def test_tagged_packets_are_served_natively_on_the_bond(cluster: Cluster) -> None:
    assert hooks(cluster) == {"bond0": Hook.XDP_NATIVE, "bond0.100": Hook.XDP_GENERIC}
    answered(cluster, "remote_tx")
    with cluster.at(0), contextlib.closing(Rtnl()) as rtnl, contextlib.closing(Notices()) as notices:
        by_routes = Detector(rtnl, notices, None).wanted(())
    assert by_routes.keys() == {"bond0.100"}, "the bond has no route of its own"
    run("ethtool", "-K", "eth1", "rxvlan", "on", netns=cluster.nodes[0])
    assert "ethtool -K eth1 rxvlan off" in devices(cluster)["bond0.100"].problem


@pytest.mark.parametrize("cluster", [InVrf], indirect=True, ids=["vrf"])
def test_a_bond_in_a_vrf_uses_the_routes_of_the_vrf(cluster: Cluster) -> None:
    assert hooks(cluster) == {"bond0": Hook.XDP_NATIVE}
    answered(cluster, "remote_tx")


@pytest.mark.parametrize("cluster", [Crossed], indirect=True, ids=["crossed"])
def test_native_xdp_sends_into_a_vlan(cluster: Cluster) -> None:
    """By the same bond: no device has to take a redirect."""
    assert hooks(cluster)["bond0"] is Hook.XDP_NATIVE
    answered(cluster, "remote_tx")
