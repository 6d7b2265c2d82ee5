"""What one packet costs in the ingress program, and in the reference forwarder on the same packets in the same run."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import msgspec
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import IPAddress, Protocol
from announcer.model.steps import AttachDevices, ProgramFrontend, Verify
from datapath import shim
from datapath.hand import Datapath
from datapath.limits import Limits
from datapath.settle import INGRESS
from tests.bench.report import Row, row
from tests.bench.under_test import FRAME, Forwarders
from tests.datapath.netns import Names, entered, sweep
from tests.datapath.node import NODE, Node, done, eventually

#: The range for benchmarks of RFC 2544, one service an address from .0.0 on.
VIP = IPv4Address("198.18.0.0")
CLIENT = IPv4Address("198.19.0.0")
STRANGER = IPv4Address("203.0.113.77")
REMOTE = tuple(Backend(IPv4Address(f"10.244.2.{10 + i}"), 8080) for i in range(10))
LOCAL = tuple(Backend(IPv4Address(f"10.244.1.{10 + i}"), 8080, True) for i in range(10))
PORT, LOCAL_PORT, UNSERVED_PORT = 80, 81, 82

#: Rows for 10,000 services.
LIMITS = Limits(row_pages=16_384)
ROUNDS = 9
REPEAT = 200_000
#: So many flows that no packet of a round belongs to a flow seen before.
NEW_EACH_PACKET = 1 << 22


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Packets that are alike. ``at_most``: the target, as a multiple of what the reference needs in the same round."""

    name: str
    vip: IPAddress = VIP
    port: int = PORT
    flows: int = 1
    services: int = 0
    at_most: float | None = None
    verdict: int

    def frame(self, to: bytes) -> bytes:
        """The first packet; ``to`` is the device's address."""
        head = Ether(src="02:00:00:00:00:99", dst=to.hex(":"))
        packet = head / IP(src=str(CLIENT), dst=str(self.vip)) / TCP(sport=0, dport=self.port, flags="A")
        return bytes(packet).ljust(FRAME, b"x")


_DROP, _PASS, _TX = 1, 2, 3


def cases(services: int) -> list[Case]:
    """All packets that are timed while so many services are programmed."""
    spread = services if services > 1 else 0
    suffix = f"/{services}-services" if services > 1 else ""
    dsr = [
        Case(name=f"dsr/ipv4/{kind}{suffix}", flows=flows, services=spread, at_most=0.8, verdict=_TX)
        for kind, flows in (
            ("established/1-flow", 1),
            ("established/1024-flows", 1024),
            ("established/65536-flows", 65536),
            ("established/1048576-flows", 1 << 20),
            ("new-flow-each-packet", NEW_EACH_PACKET),
        )
        if flows >= services
    ]
    others = [
        Case(name=f"not-for-a-vip/ipv4{suffix}", vip=STRANGER, flows=1024, at_most=0.3, verdict=_PASS),
        Case(name=f"unserved-port/ipv4{suffix}", port=UNSERVED_PORT, flows=1024, verdict=_DROP),
    ]
    local = [
        Case(name=f"local/ipv4/{kind}", port=LOCAL_PORT, flows=flows, verdict=_PASS)
        for kind, flows in (
            ("established/1-flow", 1),
            ("established/1024-flows", 1024),
            ("established/65536-flows", 65536),
            ("new-flow-each-packet", NEW_EACH_PACKET),
        )
    ]
    return dsr + others + (local if services == 1 else [])


def measure(case: Case, ours: int, forwarders: Forwarders, to: bytes) -> Row:
    """Times a case. Raises ``AssertionError`` if a packet did not end as it should."""
    frame = case.frame(to)
    forwarded = msgspec.structs.replace(case, vip=VIP, port=PORT).frame(to)
    samples, references = [], []
    for number in range(-1, ROUNDS):  # the first warms the caches and is not counted
        empty = forwarders.run(forwarders.nothing, frame, flows=case.flows, services=case.services, repeat=REPEAT)
        mine = forwarders.run(ours, frame, flows=case.flows, services=case.services, repeat=REPEAT)
        plain = forwarders.run(forwarders.nothing, forwarded, flows=case.flows, services=0, repeat=REPEAT)
        other = forwarders.run(forwarders.reference, forwarded, flows=case.flows, services=0, repeat=REPEAT)
        _check(case, mine.verdict, mine.frame)
        assert other.verdict == _TX, f"the reference said {other.verdict}"
        if number >= 0:
            samples.append(mine.nanoseconds - empty.nanoseconds)
            references.append(other.nanoseconds - plain.nanoseconds)
    return row(case.name, samples, "ns net of empty", reference=references, at_most=case.at_most)


def _check(case: Case, verdict: int, frame: bytes) -> None:
    """A benchmark of wrong packets is worth nothing: the last one has to be what it should be."""
    assert verdict == case.verdict, f"{case.name}: verdict {verdict} instead of {case.verdict}"
    if case.verdict != _TX:
        return
    last = (REPEAT - 1) & (case.flows - 1)
    outer = Ether(frame)[IP]
    assert outer.proto == 4, f"{case.name}: no outer header"
    assert ip_address(outer.dst) in {backend.address for backend in REMOTE}, f"{case.name}: to {outer.dst}"
    inner = outer.payload
    vip = case.vip + (last % case.services if case.services else 0)
    assert (inner.dst, inner.dport) == (str(vip), case.port), f"{case.name}: for {inner.dst}:{inner.dport}"
    assert bytes(inner[TCP])[:2] == (last & 0xFFFF).to_bytes(2, "little"), f"{case.name}: another flow"


@contextlib.contextmanager
def _node() -> Iterator[Node]:
    sweep()
    names = Names()
    try:
        made = Node(names)
        with entered(made.netns):
            try:
                yield made
            finally:
                made.close()
    finally:
        names.remove()


def program(datapath: Datapath, services: Sequence[int]) -> None:
    """Remote backends behind the services of these numbers, and local ones behind another port of the first."""
    for number in services:
        for port, backends in ((PORT, REMOTE), (LOCAL_PORT, LOCAL)) if number == 0 else ((PORT, REMOTE),):
            key = FrontendKey(VIP + number, Protocol.TCP, port)
            step = ProgramFrontend(lane=str(key.vip), frontend=Frontend(key=key, backends=backends))
            done(datapath.apply(step))


def bench(folder: Path, services: Sequence[int] = (1, 1_000, 10_000)) -> list[Row]:
    """Rows for each number of programmed services. Needs root."""
    rows: list[Row] = []
    with _node() as node:
        datapath = node.datapath(LIMITS)
        done(datapath.apply(AttachDevices(lane="devices")))
        ifindex = socket.if_nametoindex("eth0")
        forwarders = Forwarders(folder, ifindex)
        first = Frontend(key=FrontendKey(VIP, Protocol.TCP, PORT), backends=REMOTE)
        forwarders.teach_reference(first.key, NODE, REMOTE[0].address)
        prove = Verify(lane="bench", vip=VIP, frontends=(first,))
        there = 0
        for count in services:
            program(datapath, range(there, count))
            there = count
            eventually(lambda: not datapath.apply(prove).problem, "the proof of the first service")
            ours = shim.get(node.bpffs / "progs" / INGRESS)
            assert ours is not None
            rows += [measure(case, ours, forwarders, node.link().address) for case in cases(count)]
    return rows
