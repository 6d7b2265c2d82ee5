"""What one packet costs in the ingress program, and in the reference forwarder on the same packets in the same run."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec
from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from announcer.model.lb import DEFAULT_SNAT_PORTS, Backend, Frontend, FrontendKey, Mode
from announcer.model.net import IPAddress, Protocol
from announcer.model.steps import AttachDevices, ProgramFrontend, Verify
from datapath import abi, shim
from datapath.hand import Datapath
from datapath.limits import Limits
from datapath.settle import INGRESS
from tests.bench import replies
from tests.bench.report import Row, figure, row
from tests.bench.testrun import Run
from tests.bench.under_test import FRAME, Forwarders, flow_of
from tests.datapath.netns import Names, entered, sweep
from tests.datapath.node import NODE, NODE6, REMOTE_NODE, REMOTE_NODE6, Node, done, eventually


class Addresses(msgspec.Struct, frozen=True):
    """What a benchmark of one family uses. One service an address from ``vip`` on."""

    version: int
    vip: IPAddress
    client: IPAddress
    stranger: IPAddress
    node: IPAddress
    remote: tuple[Backend, ...]
    remote_node: IPAddress
    local: tuple[Backend, ...]
    #: Protocol number of the inner header behind the outer one.
    inner: int
    #: The target for flows whose slot is in no transition, as a multiple of the reference.
    at_most: float


def _backends(first: str, local: bool = False) -> tuple[Backend, ...]:
    return tuple(Backend(ip_address(first) + i, 8080, local) for i in range(10))


#: The ranges for benchmarks of RFC 2544 and RFC 5180.
IPV4 = Addresses(
    4,
    vip=ip_address("198.18.0.0"),
    client=ip_address("198.19.0.0"),
    stranger=ip_address("203.0.113.77"),
    node=NODE,
    remote=_backends("10.244.2.10"),
    remote_node=REMOTE_NODE,
    local=_backends("10.244.1.10", local=True),
    inner=4,
    at_most=0.8,
)
IPV6 = Addresses(
    6,
    vip=ip_address("2001:2::"),
    client=ip_address("2001:2:0:1::"),
    stranger=ip_address("2001:db8:77::77"),
    node=NODE6,
    remote=_backends("2001:db8:244:2::10"),
    remote_node=REMOTE_NODE6,
    local=_backends("2001:db8:244:1::10", local=True),
    inner=41,
    at_most=1.0,
)
FAMILIES = (IPV4, IPV6)
PORT, LOCAL_PORT, UNSERVED_PORT, MOVED_PORT, SNAT_PORT, GENEVE_PORT = 80, 81, 82, 83, 84, 85

#: Rows for 10,000 services of either family.
LIMITS = Limits(row_pages=32_768)
ROUNDS = 7
REPEAT = 200_000
#: Of the reference, whose working set is small and hot.
REFERENCE_REPEAT = 100_000
#: So many flows that no packet of a round belongs to a flow seen before.
NEW_EACH_PACKET = 1 << 22
#: Ten backends have room for no more over the ports of one node.
MOST_SNAT_FLOWS = 1 << 15


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Packets that are alike. ``at_most``: the target, as a multiple of what the reference needs in the same round."""

    name: str
    family: Addresses
    to: IPAddress
    port: int = PORT
    flows: int = 1
    services: int = 0
    at_most: float | None = None
    verdict: int
    mode: Mode = Mode.DSR
    #: What a backend answers by SNAT, to a port of the node: see ``replies``.
    replies: bool = False

    def frame(self, to: bytes) -> bytes:
        """The first packet; ``to`` is the device's address."""
        if self.replies:
            return replies.frame(self.family, to)
        network = IP if self.family.version == 4 else IPv6
        head = Ether(src="02:00:00:00:00:99", dst=to.hex(":"))
        packet = (
            head / network(src=str(self.family.client), dst=str(self.to)) / TCP(sport=0, dport=self.port, flags="A")
        )
        return bytes(packet).ljust(FRAME, b"x")


_DROP, _PASS, _TX = 1, 2, 3


def cases(services: int) -> list[Case]:
    """All packets that are timed while so many services are programmed."""
    return [case for family in FAMILIES for case in _of_family(family, services)]


def _of_family(family: Addresses, services: int) -> list[Case]:
    ip, suffix = f"ipv{family.version}", f"/{services}-services" if services > 1 else ""
    established = [(f"established/{flows}-flow{'s' if flows > 1 else ''}", flows) for flows in (1, 1024, 1 << 16)]
    new = ("new-flow-each-packet", NEW_EACH_PACKET)

    def one(kind: str, flows: int, verdict: int, at_most: float | None = None, **fields: object) -> Case:
        made = Case(name=kind + suffix, family=family, to=family.vip, flows=flows, verdict=verdict, at_most=at_most)
        return msgspec.structs.replace(made, **fields)

    dsr = [
        one(f"dsr/{ip}/{kind}", flows, _TX, family.at_most, services=services)
        for kind, flows in (*established, ("established/1048576-flows", 1 << 20), new)
        if flows >= services
    ]
    others = [
        one(f"not-for-a-vip/{ip}", 1024, _PASS, 0.3, to=family.stranger),
        one(f"unserved-port/{ip}", 1024, _DROP, port=UNSERVED_PORT),
    ]
    if services > 1:
        return dsr + others
    moved = [
        one(f"dsr/{ip}/transition/{flows}-flows", flows, _TX, at_most, port=MOVED_PORT)
        for flows, at_most in ((1024, 2.5), (1 << 16, None))
    ]
    local = [one(f"local/{ip}/{kind}", flows, _PASS, port=LOCAL_PORT) for kind, flows in (*established, new)]
    snat = [
        one(f"snat/{ip}/{kind}", flows, _TX, 2.0 if flows == 1024 else None, port=SNAT_PORT, mode=Mode.SNAT)
        for kind, flows in established
        if flows <= MOST_SNAT_FLOWS
    ]
    geneve = [
        one(f"geneve/{ip}/{kind}", flows, _TX, 1.2 if flows == 1024 else None, port=GENEVE_PORT, mode=Mode.GENEVE)
        for kind, flows in established
    ]
    return dsr + moved + geneve + snat + others + local


def spread_case(family: Addresses, *, flows: int, services: int) -> Case:
    """Established flows by DSR over so many services."""
    return Case(name="dsr", family=family, to=family.vip, flows=flows, services=services, verdict=_TX)


def establish(datapath: Datapath) -> None:
    """Let the backends have answered every SNAT flow that there is, and the clients have heard it."""
    maps = datapath._loaded.maps
    heard = abi.SnatState.ANSWERED | abi.SnatState.ESTABLISHED
    for table, shape in ((maps.snat_flows, abi.SNAT_FLOW), (maps.snat_ports, abi.SNAT_PORT)):
        state = abi.SnatState.ESTABLISHED if table is maps.snat_flows else heard
        for key, value in table.dump().items():
            table.put(key, shape.pack(*shape.unpack(value)[:-1], state))


def measure(case: Case, ours: int, forwarders: Forwarders, to: bytes, datapath: Datapath) -> Row:
    """Times a case. Raises ``AssertionError`` if a packet did not end as it should."""
    frame = case.frame(to)
    forwarded = msgspec.structs.replace(case, to=case.family.vip, port=PORT, replies=False).frame(to)
    samples, references = [], []
    for number in range(-1, ROUNDS):  # the first warms the caches and is not counted
        empty, mine = (_run(case, prog, forwarders, frame) for prog in (forwarders.nothing, ours))
        plain, other = (
            forwarders.run(prog, forwarded, flows=case.flows, services=min(case.services, 1), repeat=REFERENCE_REPEAT)
            for prog in (forwarders.nothing, forwarders.reference)
        )
        _check(case, mine.verdict, mine.frame)
        assert other.verdict == _TX, f"the reference said {other.verdict}"
        if number < 0:
            establish(datapath)
        else:
            samples.append(mine.nanoseconds - empty.nanoseconds)
            references.append(other.nanoseconds - plain.nanoseconds)
    return row(case.name, samples, "ns net of empty", reference=references, at_most=case.at_most)


def _run(case: Case, prog: int, forwarders: Forwarders, frame: bytes) -> Run:
    return forwarders.run(prog, frame, flows=case.flows, services=case.services, repeat=REPEAT, replies=case.replies)


def measure_replies(ours: int, forwarders: Forwarders, to: bytes, datapath: Datapath, device: int) -> list[Row]:
    """Times the answers of remote backends that were reached by SNAT. ``device``: by which everything comes in."""
    rows = []
    for family in FAMILIES:
        name = f"snat-reply/ipv{family.version}/established/{replies.FLOWS}-flows"
        case = Case(name=name, family=family, to=family.node, flows=replies.FLOWS, verdict=_TX, replies=True)
        with replies.known(datapath, family, SNAT_PORT, device):
            rows.append(measure(case, ours, forwarders, to, datapath))
    return rows


def _check(case: Case, verdict: int, frame: bytes) -> None:
    """A benchmark of wrong packets is worth nothing: the last one has to be what it should be."""
    assert verdict == case.verdict, f"{case.name}: verdict {verdict} instead of {case.verdict}"
    if case.verdict != _TX:
        return
    last = flow_of(REPEAT - 1, case.flows)
    outer = Ether(frame).payload
    if case.replies:
        replies.check(case.family, last, SNAT_PORT, outer)
        return
    inner = outer.payload
    if case.mode is Mode.SNAT:
        assert ip_address(outer.dst) in _remote(case), f"{case.name}: to {outer.dst}"
        first, last_port = DEFAULT_SNAT_PORTS
        assert ip_address(outer.src) == case.family.node, f"{case.name}: from {outer.src}"
        assert first <= inner.sport <= last_port, f"{case.name}: from port {inner.sport}"
        assert inner.dport == case.family.remote[0].port, f"{case.name}: to port {inner.dport}"
        return
    if case.mode is Mode.GENEVE:
        assert ip_address(outer.dst) == case.family.remote_node, f"{case.name}: to {outer.dst}"
        inner = outer[GENEVE].payload
    else:
        protocol = outer.proto if case.family.version == 4 else outer.nh
        assert protocol == case.family.inner, f"{case.name}: no outer header"
        assert ip_address(outer.dst) in _remote(case), f"{case.name}: to {outer.dst}"
    vip = case.to + (last % case.services if case.services else 0)
    assert (inner.dst, inner.dport) == (str(vip), case.port), f"{case.name}: for {inner.dst}:{inner.dport}"
    assert bytes(inner[TCP])[:2] == (last & 0xFFFF).to_bytes(2, "little"), f"{case.name}: another flow"


def _remote(case: Case) -> set[IPAddress]:
    return {backend.address for backend in case.family.remote}


@contextlib.contextmanager
def made_node() -> Iterator[Node]:
    """A node of its own, removed at the end."""
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
    """Remote backends behind the services of these numbers; behind other ports of the first ones, what is local,
    what is reached by SNAT or Geneve, and what has just been exchanged, so that every flow's slot is in transition."""
    for family in FAMILIES:
        program_services(datapath, family, services)
        if 0 in services:
            _program(datapath, family.vip, LOCAL_PORT, family.local)
            before, after = family.remote[:5], family.remote[5:]
            _program(datapath, family.vip, SNAT_PORT, family.remote, mode=Mode.SNAT)
            behind = tuple(msgspec.structs.replace(each, node=family.remote_node) for each in family.remote)
            _program(datapath, family.vip, GENEVE_PORT, behind, mode=Mode.GENEVE)
            _program(datapath, family.vip, MOVED_PORT, before)
            _program(datapath, family.vip, MOVED_PORT, after, terminating=before)


def program_services(datapath: Datapath, family: Addresses, services: Sequence[int]) -> None:
    """The remote backends of a family behind its services of these numbers."""
    for number in services:
        _program(datapath, family.vip + number, PORT, family.remote)


def _program(
    datapath: Datapath,
    vip: IPAddress,
    port: int,
    backends: tuple[Backend, ...],
    terminating: tuple[Backend, ...] = (),
    mode: Mode = Mode.DSR,
) -> None:
    frontend = Frontend(key=FrontendKey(vip, Protocol.TCP, port), backends=backends, terminating=terminating, mode=mode)
    done(datapath.apply(ProgramFrontend(lane=str(vip), frontend=frontend)))


def teach(forwarders: Forwarders, datapath: Datapath, families: Sequence[Addresses] = FAMILIES) -> None:
    """Let the reference forward the first service of each family, when ours can be proven to."""
    for family in families:
        first = Frontend(key=FrontendKey(family.vip, Protocol.TCP, PORT), backends=family.remote)
        forwarders.teach_reference(first.key, family.node, family.remote[0].address)
        prove = Verify(lane="bench", vip=family.vip, frontends=(first,))
        eventually(lambda prove=prove: not datapath.apply(prove).problem, "the proof of the first service")  # type: ignore[misc]


def shorten(datapath: Datapath) -> None:
    """Look, as an agent does every second, until there are shortcuts to all frontends."""

    def look() -> bool:
        problem = datapath.observe(()).problem
        assert not problem, problem
        return not datapath._tables.shortcuts.waiting()

    eventually(look, "shortcuts")


def bench(folder: Path, services: Sequence[int] = (1, 1_000, 10_000)) -> list[Row]:
    """Rows for each number of programmed services. Needs root."""
    rows: list[Row] = []
    with made_node() as node:
        datapath = node.datapath(LIMITS)
        done(datapath.apply(AttachDevices(lane="devices")))
        forwarders = Forwarders(folder, socket.if_nametoindex("eth0"))
        there = 0
        for count in services:
            program(datapath, range(there, count))
            if not there:
                teach(forwarders, datapath)
            shorten(datapath)
            there = count
            ours = shim.get(node.bpffs / "progs" / INGRESS)
            assert ours is not None
            link = node.link()
            rows += [measure(case, ours, forwarders, link.address, datapath) for case in cases(count)]
            if count == services[0]:
                rows += measure_replies(ours, forwarders, link.address, datapath, link.ifindex)
    return rows + against_one(rows, services[-1])


def against_one(rows: Sequence[Row], services: int) -> list[Row]:
    """How many times what it costs with one service a packet costs with so many, both in units of the reference."""
    suffix = f"/{services}-services"
    alone = {row.name: row.ratio["reference"] for row in rows if row.name.startswith("dsr/")}
    pairs = [(name, alone[name + suffix] / ratio) for name, ratio in alone.items() if name + suffix in alone]
    return [figure(f"{name}{suffix}-against-1", [times], "times", at_most=1.2, digits=2) for name, times in pairs]
