"""SNAT: who has which port and for how long, against the rules in Python; and what the node must be like for it."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec
import pytest

from announcer.model.lb import Backend, Frontend, Mode, PortRange
from announcer.model.net import Protocol
from announcer.model.observed import Outcome
from announcer.model.steps import AttachDevices
from datapath import abi, shim, snat
from datapath.abi import PacketReason, Verdict
from datapath.hand import Datapath
from datapath.tables import coarse
from tests.datapath.fixtures.family import SNAT_PORT, TARGET, Family
from tests.datapath.netns import run
from tests.datapath.node import (
    SMALL,
    Node,
    done,
    eventually,
    failed,
    frontend,
    observe,
    program,
    proven,
    remove,
    verify,
)
from tests.datapath.snat_model import Ports

pytestmark = pytest.mark.root

VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
LIMITS = msgspec.structs.replace(SMALL, snat_flows=64, snat_ports=64)


class World:
    """A frontend of each protocol with one remote backend, and a range of ports of the node."""

    def __init__(self, node: Node, version: int = 4, ports: int = 1) -> None:
        self.node, self.family = node, Family(version)
        self.ports = PortRange(SNAT_PORT, SNAT_PORT + ports - 1)
        self.open()
        self.family.node_mac, self.ifindex = node.link().address.hex(":"), node.link().ifindex
        for each in self.family.served:
            if each.mode is Mode.SNAT:
                done(program(self.datapath, each))
                proven(self.datapath, each)

    def open(self) -> None:
        self.datapath = self.node.attached(LIMITS, snat_ports=self.ports)
        self.maps = self.datapath._loaded.maps

    def ask(self, client: int, port: int = 91, flags: str = "S", ack: int = 9) -> int | None:
        """The node's port from which a packet of the client's port leaves, None if it was dropped for want of one."""
        f = self.family
        packet = f.tcp(port, flags=flags, sport=client) if port == 91 else f.udp(port, sport=client)
        if port == 91:
            packet.getlayer("TCP").ack = ack
        verdict, out = self._send(packet)
        if verdict is Verdict.DROP:
            return None
        assert verdict is Verdict.TX
        assert (out.src, out.dst) == (str(f.node), str(f.remote))
        return int(out.payload.sport)

    def answer(self, port: int, service: int = 91, flags: str = "SA") -> int | None:
        """The client's port to which an answer to the node's ``port`` goes, None if it is nobody's."""
        f = self.family
        where: dict[str, Any] = {"src": f.remote, "dst": f.node, "sport": TARGET[service]}
        verdict, out = self._send(f.tcp(port, flags=flags, **where) if service == 91 else f.udp(port, **where))
        if verdict is Verdict.PASS:
            return None
        assert verdict is Verdict.TX
        assert (out.src, out.payload.sport) == (str(f.vip), service)
        return int(out.payload.dport)

    def _send(self, packet: Any) -> tuple[Verdict, Any]:
        frame = bytes(self.family.frame(packet))
        verdict, _, out = shim.run_xdp(self.datapath._prog, self.ifindex, frame, b"")
        return tuple(Verdict)[verdict], self.family.built(out[14:])

    def silent(self, seconds: int | dict[int, int]) -> None:
        """Every flow (or by its client's port) has now been silent for so long, however slow this machine is."""
        now = coarse(time.monotonic())
        for table, shape in ((self.maps.snat_flows, abi.SNAT_FLOW), (self.maps.snat_ports, abi.SNAT_PORT)):
            for key, value in table.dump().items():
                other, _, *rest = shape.unpack(value)
                flow = key if table is self.maps.snat_flows else other
                age = seconds if isinstance(seconds, int) else seconds[int.from_bytes(flow[32:34], "big")]
                table.put(key, shape.pack(other, (now - age) % (1 << 32), *rest))

    def sweep(self) -> None:
        shim.run_syscall(self.datapath._loaded.sweep)

    def entries(self) -> tuple[int, int]:
        """How many flows and ports there are; each holds the key of the other."""
        flows, ports = self.maps.snat_flows.dump(), self.maps.snat_ports.dump()
        assert {key: value[:40] for key, value in flows.items()} == {value[:40]: key for key, value in ports.items()}
        return len(flows), len(ports)


def set_up(world: World, service: int, story: str) -> None:
    """Packets of client 1: ``S``, ``A``, ``F``, ``R`` by itself, in small letters by the backend; ``u`` an answer;
    ``W`` an acknowledgement of something that the backend never said."""
    for word in story:
        if word.isupper():
            world.ask(1, service, flags={"F": "FA", "W": "A"}.get(word, word), ack=7 + 1 if word == "A" else 9)
        else:
            flags = {"s": "SA", "a": "A", "f": "FA", "r": "R", "u": ""}[word]
            world.answer(SNAT_PORT, service, flags)


#: What was said, seconds of silence, and whether the port then goes to another flow; and whether the sweep ends it.
LIVES = [
    (91, "S", 2, False, False),
    (91, "S", 8, True, False),
    (91, "S", 40, True, True),
    (91, "SSsF", 2, False, False),
    (91, "Ss", 8, True, False),
    (91, "SsS", 8, True, False),
    (91, "SsW", 8, True, False),
    (91, "SsA", 7200, False, False),
    (91, "SsA", 8100, True, True),
    (91, "SsAF", 200, False, False),
    (91, "SsAF", 300, True, True),
    (91, "SsAf", 200, False, False),
    (91, "SsAFf", 0, False, False),
    (91, "SsAFf", 10, True, False),
    (91, "SsAFf", 70, True, True),
    (91, "SsAFfS", 2, False, False),
    (91, "SsAR", 10, True, False),
    (91, "SsAr", 10, True, False),
    (91, "Sr", 10, True, False),
    (64, "S", 8, True, False),
    (64, "Su", 8, True, False),
    (64, "SuS", 200, False, False),
    (64, "SuS", 310, True, True),
]


@pytest.mark.parametrize(("service", "story", "silent", "gives_way", "swept"), LIVES)
@VERSIONS
def test_a_flow_lives_as_long_as_what_it_said(
    node: Node, version: int, service: int, story: str, silent: int, gives_way: bool, swept: bool
) -> None:
    world = World(node, version)
    set_up(world, service, story)
    world.silent(silent)
    world.sweep()
    assert world.entries() == ((0, 0) if swept else (1, 1))
    world.silent(silent)
    assert (world.ask(2, service) == SNAT_PORT) == gives_way
    assert world.entries() == (1, 1)
    assert world.answer(SNAT_PORT, service) == (2 if gives_way else 1)


def test_no_port_is_a_counted_drop(node: Node) -> None:
    world = World(node, ports=3)
    assert {world.ask(client) for client in (1, 2, 3)} == {SNAT_PORT, SNAT_PORT + 1, SNAT_PORT + 2}
    world.silent(0)
    before = world.datapath.counters()
    assert world.ask(4) is None
    assert world.datapath.counters()[PacketReason.NO_SNAT_PORT] == before[PacketReason.NO_SNAT_PORT] + 1
    # Ports are counted by backend: another of its ports has as many.
    assert world.ask(4, 64) is not None


def test_a_full_table_harms_no_flow(node: Node) -> None:
    world = World(node, ports=200)
    held = {}
    for client in range(1, 100):
        world.silent(0)
        held[client] = world.ask(client)
    served = {client: port for client, port in held.items() if port is not None}
    assert 0 < len(served) < len(held)
    assert len(set(served.values())) == len(served)
    assert {client: world.ask(client, flags="A") for client in served} == served
    world.entries()


@pytest.mark.parametrize("service", [91, 64], ids=["tcp", "udp"])
@VERSIONS
def test_ports_go_as_the_rules_say(node: Node, version: int, service: int) -> None:
    """Random packets of more clients than there are ports, with time going by; at each step the rules are asked."""
    world, chance = World(node, version, ports=6), random.Random(version * service)
    rules = Ports(Protocol.TCP if service == 91 else Protocol.UDP, range(SNAT_PORT, SNAT_PORT + 6))
    ended = 0
    for _ in range(600):
        client, port = chance.randrange(1, 12), SNAT_PORT + chance.randrange(6)
        while rules.is_close():
            rules.now += 7
        world.silent({client: rules.now - flow.seen for client, flow in rules.flows.items()})
        match chance.randrange(12):
            case 0:
                rules.now += chance.choice([1, 10, 40, 70, 250, 310, 8100])
            case 1:
                world.sweep()
                rules.swept()
                assert world.entries()[0] == len(rules.flows)
            case 2 | 3 | 4 | 5:
                flags = chance.choice(["SA", "A", "A", "FA", "R"]) if service == 91 else ""
                assert world.answer(port, service, flags) == rules.answered(port, flags)
            case _:
                flags = chance.choice(["S", "A", "A", "FA", "R"]) if service == 91 else ""
                allowed = rules.may_take(client)
                new = client not in rules.flows
                # What the answer said is acknowledged: one more than its sequence number, or as much.
                hears, ack = _acknowledges(world, client, service, flags)
                taken = world.ask(client, service, flags or "S", ack=ack)
                assert (taken in allowed) if allowed else (taken is None), (taken, allowed)
                ended += taken is None
                if taken is not None:
                    rules.asked(client, taken, flags, hears and not new)
    assert ended, "the ports were never scarce"


def _acknowledges(world: World, client: int, service: int, flags: str) -> tuple[bool, int]:
    """Whether the packet will be one that shows that the answer was heard, and its acknowledgement number."""
    if service != 91 or flags in ("S", ""):
        return False, 9
    for value in world.maps.snat_ports.dump().values():
        flow, _, _, expect, _ = abi.SNAT_PORT.unpack(value)
        if int.from_bytes(flow[32:34], "big") == client:
            return "A" in flags, int.from_bytes(expect, "big")
    return False, 9


@VERSIONS
def test_an_agent_that_restarts_keeps_every_flow(node: Node, version: int) -> None:
    world = World(node, version, ports=8)
    held = {client: world.ask(client) for client in range(1, 6)}
    world.datapath.close()
    world.open()
    assert {client: world.ask(client, flags="A") for client in held} == held
    for client, port in held.items():
        assert port is not None
        assert world.answer(port) == client


def test_a_flow_whose_backend_changes_gets_another_port(node: Node) -> None:
    """And gives the old one back."""
    world = World(node, ports=1)
    assert world.ask(1) == SNAT_PORT
    other = Backend(world.family.remote + 1, 8080)
    wanted = frontend(other, vip=world.family.vip, port=91, mode=Mode.SNAT)
    done(program(world.datapath, wanted))
    proven(world.datapath, wanted)
    world.family.remote = other.address
    assert world.ask(1) == SNAT_PORT
    assert world.entries() == (1, 1)


def test_a_proof_takes_no_port(node: Node) -> None:
    world = World(node)
    assert world.entries() == (0, 0)


# --- what the node must be like --------------------------------------------------------------------------------------

WEB = Frontend(key=frontend().key, backends=(Backend(Family(4).remote, 8080),), mode=Mode.SNAT)


def local_ports(node: Node, ports: str, reserved: str = "") -> None:
    run("sysctl", "-qw", f"net.ipv4.ip_local_port_range={ports}", netns=node.netns)
    run("sysctl", "-qw", f"net.ipv4.ip_local_reserved_ports={reserved}", netns=node.netns)


def test_ports_of_the_kernel_are_left_to_it(node: Node) -> None:
    datapath = node.attached()
    local_ports(node, "32768 61000")
    assert "61000-65535 and net.ipv4.ip_local_port_range (32768-61000)" in failed(program(datapath, WEB))
    # Everything else is served, by DSR and on this node.
    done(program(datapath, msgspec.structs.replace(WEB, mode=Mode.DSR)))
    local_ports(node, "32768 61000", "40000,61000-61010")
    done(program(datapath, WEB))
    proven(datapath, WEB)
    local_ports(node, "1024 65535")
    assert "overlap" in failed(verify(datapath, WEB))
    assert observe(datapath).frontends == {WEB.key: WEB}


def test_a_mode_is_changed_in_place(node: Node) -> None:
    datapath = node.attached()
    for mode in (Mode.DSR, Mode.SNAT, Mode.DSR):
        wanted = msgspec.structs.replace(WEB, mode=mode)
        done(program(datapath, wanted))
        assert observe(datapath).frontends == {WEB.key: wanted}
        proven(datapath, wanted)
        assert failed(_other_mode(datapath, wanted))


def _other_mode(datapath: Datapath, wanted: Frontend) -> Outcome:
    return verify(datapath, msgspec.structs.replace(wanted, mode=Mode.SNAT if wanted.mode is Mode.DSR else Mode.DSR))


def watched(datapath: Datapath) -> tuple[int, ...]:
    """To which ports of this node answers may come, as the programs know it."""
    return abi.SNAT_RANGE.unpack_from(datapath._loaded.maps.sieve.bytes, abi.SNAT_RANGE_AT)


def test_nobody_pays_for_it_who_does_not_use_it(node: Node) -> None:
    """Packets for the node itself are looked at only where answers may be among them."""
    datapath = node.attached()
    done(program(datapath, msgspec.structs.replace(WEB, mode=Mode.DSR)))
    assert watched(datapath) == (0, 0)
    done(program(datapath, WEB))
    assert watched(datapath) == (61000, 65535)
    # Its flows may outlive it.
    done(remove(datapath, WEB.key))
    assert watched(datapath) == (61000, 65535)
    datapath.close()
    again = node.datapath()
    assert watched(again) == (0, 0)


def test_an_answer_that_no_program_would_see_is_no_proof(node: Node) -> None:
    datapath = node.datapath(devices=["pod"])
    done(datapath.apply(AttachDevices(lane="devices")))
    done(program(datapath, WEB))
    eventually(lambda: "where no program would see it" in failed(verify(datapath, WEB)))


def test_the_sweep_comes_by_itself(node: Node) -> None:
    world, now = World(node), 1000.0
    world.ask(1)
    world.silent(100)
    world.datapath._snat.tend(now)
    assert world.entries() == (0, 0)
    world.ask(1)
    world.silent(100)
    world.datapath._snat.tend(now + snat.INTERVAL / 2)
    assert world.entries() == (1, 1)
    world.datapath._snat.tend(now + snat.INTERVAL)
    assert world.entries() == (0, 0)
