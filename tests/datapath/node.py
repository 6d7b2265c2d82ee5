"""A node with one uplink ``eth0`` to a router that answers for everything, and values to program it with."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar

from announcer.model.lb import DEFAULT_SNAT_PORTS, Backend, Frontend, FrontendKey, Mode, PortRange
from announcer.model.net import IPAddress, IPNetwork, Protocol
from announcer.model.observed import DatapathObserved, Outcome, OutcomeState
from announcer.model.steps import AttachDevices, ProgramFrontend, RemoveFrontend, Verify
from datapath.hand import Datapath
from datapath.limits import Limits
from datapath.maps import HashMap
from datapath.rtnl import Link
from tests.datapath.netns import Names, ip, run

VIP = IPv4Address("203.0.113.10")
ROUTER = IPv4Address("192.168.1.11")
ROUTER_MAC = "02:00:00:00:01:11"
NODE = IPv4Address("192.168.1.21")
CLIENT = IPv4Address("198.51.100.10")
VIP6 = IPv6Address("2001:db8:f::10")
ROUTER6 = IPv6Address("2001:db8:1::11")
NODE6 = IPv6Address("2001:db8:1::21")
CLIENT6 = IPv6Address("2001:db8:c::10")
LOCAL6 = Backend(IPv6Address("2001:db8:244:1::10"), 8080, True)
REMOTE6 = Backend(IPv6Address("2001:db8:244:2::10"), 8080, False)
LOCAL = Backend(IPv4Address("10.244.1.10"), 8080, True)
#: Its node, behind the router too.
REMOTE_NODE = IPv4Address("192.168.2.22")
REMOTE_NODE6 = IPv6Address("2001:db8:2::22")
REMOTE = Backend(IPv4Address("10.244.2.10"), 8080, False)
#: The same for Geneve.
BEHIND = Backend(REMOTE.address, 8080, False, REMOTE_NODE)
SMALL = Limits(
    frontends=16,
    vips=8,
    row_pages=64,
    backends=64,
    decaps=16,
    guards=8,
    sources=16,
    flows=4096,
    flows_new=4096,
    replies=4096,
    replies_new=4096,
    replies_udp=4096,
    snat_flows=4096,
    snat_ports=4096,
    fragments=4096,
    vlans=8,
    rest=0.0,
    linger=0.0,
)
DEADLINE = 10.0

T = TypeVar("T")


def eventually(what: Callable[[], T], why: str = "", within: float = DEADLINE) -> T:
    """The first true value of ``what``, asked again and again until the deadline (seconds)."""
    end = time.monotonic() + within
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, f"not within {within} s: {why or what}"
        time.sleep(0.01)


def frontend(
    *backends: Backend,
    vip: IPAddress = VIP,
    port: int = 80,
    protocol: Protocol = Protocol.TCP,
    terminating: tuple[Backend, ...] = (),
    for_others: tuple[Backend, ...] = (),
    affinity: bool = False,
    source_ranges: tuple[IPNetwork, ...] | None = None,
    mode: Mode = Mode.DSR,
) -> Frontend:
    return Frontend(
        key=FrontendKey(vip, protocol, port),
        backends=tuple(sorted(backends)),
        terminating=tuple(sorted(terminating)),
        for_others=tuple(sorted(for_others)),
        affinity=affinity,
        source_ranges=source_ranges,
        mode=mode,
    )


class Node:
    """Everything in it is removed with its ``Names``."""

    #: How the egress program is attached: None as the kernel can, False by a filter of tc.
    tcx: bool | None = None

    def __init__(self, names: Names) -> None:
        self.netns, self.router = names.netns("n"), names.netns("r")
        self.bpffs: Path = names.folder / "bpf"
        ip(self.router, [f"link add e0 address {ROUTER_MAC} type veth peer name eth0 netns {self.netns}"])
        ip(self.router, [f"addr add {ROUTER}/24 dev e0", "link set e0 up"])
        ip(self.netns, ["link add pod type veth peer name podside", "link set podside up", "link set pod up"])
        ip(
            self.netns,
            [
                f"addr add {NODE}/24 dev eth0",
                "link set eth0 up",
                # Else its answers, for which the kernel asks now and then, would be counted with a test's packets.
                f"neigh add {ROUTER} lladdr {ROUTER_MAC} dev eth0",
                f"route add default via {ROUTER}",
                "route add 10.244.1.0/24 dev pod",
            ],
        )
        self._ipv6()
        self._open: list[Datapath] = []

    def _ipv6(self) -> None:
        """On the node only: the router would ask for neighbours and report groups, and tests count packets."""
        settings = ["all.forwarding=1", "default.accept_dad=0", "eth0.addr_gen_mode=1", "pod.addr_gen_mode=1"]
        settings += ["eth0.router_solicitations=0", "eth0.disable_ipv6=0", "pod.disable_ipv6=0"]
        self.run("sysctl", "-qw", *(f"net.ipv6.conf.{setting}" for setting in settings))
        self.ip(
            f"addr add {NODE6}/64 dev eth0 nodad",
            f"neigh add {ROUTER6} lladdr {ROUTER_MAC} dev eth0",
            f"route add ::/0 via {ROUTER6}",
            "route add 2001:db8:244:1::/64 dev pod",
        )

    def datapath(
        self,
        limits: Limits = SMALL,
        devices: list[str] | None = None,
        snat_ports: PortRange = DEFAULT_SNAT_PORTS,
    ) -> Datapath:
        """Opened, and closed at the end of the test."""
        made = Datapath(bpffs=self.bpffs, devices=devices, limits=limits, tcx=self.tcx, snat_ports=snat_ports)
        made.open()
        self._open.append(made)
        return made

    def attached(self, limits: Limits = SMALL, snat_ports: PortRange = DEFAULT_SNAT_PORTS) -> Datapath:
        made = self.datapath(limits, snat_ports=snat_ports)
        done(made.apply(AttachDevices(lane="devices")))
        return made

    def close(self) -> None:
        for each in self._open:
            each.close()

    def link(self, name: str = "eth0") -> Link:
        import socket

        from datapath.rtnl import Rtnl

        rtnl = Rtnl()
        try:
            found = rtnl.link(socket.if_nametoindex(name))
            assert found is not None
            return found
        finally:
            rtnl.close()

    def ip(self, *lines: str) -> None:
        ip(self.netns, lines)

    def forget_router(self) -> None:
        """Let the kernel find out by itself where its packets for the IPv4 router have to go."""
        self.ip(f"neigh del {ROUTER} dev eth0")

    def run(self, *argv: str) -> str:
        return run(*argv, netns=self.netns)


def foreign(table: HashMap) -> HashMap:
    """The same map in the hands of somebody else, of whose changes the datapath knows nothing."""
    return HashMap(table.name, table._fd)


def done(outcome: Outcome) -> None:
    assert outcome.state is OutcomeState.DONE, outcome.problem


def failed(outcome: Outcome) -> str:
    assert outcome.state is OutcomeState.FAILED
    assert outcome.problem
    return outcome.problem


def moved(datapath: Datapath, before: dict[str, int]) -> dict[str, int]:
    """By how much the counters went up since they were ``before``, for those that did."""
    after = datapath.counters()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def program(datapath: Datapath, wanted: Frontend) -> Outcome:
    return datapath.apply(ProgramFrontend(lane=str(wanted.key.vip), frontend=wanted))


def remove(datapath: Datapath, key: FrontendKey) -> Outcome:
    return datapath.apply(RemoveFrontend(lane=str(key.vip), key=key))


def verify(datapath: Datapath, *wanted: Frontend) -> Outcome:
    return datapath.apply(Verify(lane=str(wanted[0].key.vip), vip=wanted[0].key.vip, frontends=wanted))


def proven(datapath: Datapath, *wanted: Frontend) -> None:
    """Neighbours take a moment to be resolved."""
    eventually(lambda: verify(datapath, *wanted).state is OutcomeState.DONE, "proof of " + str(wanted[0].key))


def observe(datapath: Datapath) -> DatapathObserved:
    seen = datapath.observe((ROUTER,))
    assert not seen.problem
    return seen
