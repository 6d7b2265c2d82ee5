"""The rule of flow state against the program itself, and the walks that make slots steady again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import msgspec
import pytest

from announcer.model.lb import Backend, Frontend
from announcer.model.net import IPAddress, Protocol
from datapath import packet, shim
from datapath.hand import Datapath
from datapath.transition import INTERVAL, WINDOW
from tests.datapath.fixtures.family import Family
from tests.datapath.netns import Names, entered
from tests.datapath.node import ROUTER, SMALL, Node, done, frontend, program

pytestmark = pytest.mark.root

PORT = 80
LIMITS = msgspec.structs.replace(SMALL, decaps=64, flows=65536, flows_new=8192, replies_new=65536, row_pages=256)
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


class World:
    """A frontend with local backends, so that the packet out says who was chosen.

    ``ahead``: seconds by which the agent thinks it is later.
    """

    def __init__(self, node: Node, version: int) -> None:
        self.ahead = 0.0
        self.node, self.family = node, Family(version)
        self.pool = [Backend(self.family.local + i, 8080, True) for i in range(12)]
        self.mac, self.ifindex = node.link().address, node.link().ifindex
        self.open()
        self.wanted = frontend(vip=self.family.vip)

    def open(self) -> None:
        self.datapath = Datapath(bpffs=self.node.bpffs, limits=LIMITS, clock=lambda: time.monotonic() + self.ahead)
        self.datapath.open()

    def restart(self) -> None:
        self.datapath.close()
        self.open()

    def serve(self, serving: list[Backend], terminating: list[Backend] | None = None, affinity: bool = False) -> None:
        leaving = tuple(terminating or ())
        self.wanted = frontend(*serving, vip=self.family.vip, terminating=leaving, affinity=affinity)
        done(program(self.datapath, self.wanted))

    def send(self, sport: int, flags: str = "A", client: IPAddress | None = None) -> IPAddress | None:
        frame = packet.build(
            packet.Flow(client or self.family.client, sport, self.family.vip, PORT, Protocol.TCP), self.mac
        )
        if flags != "S":
            raw = bytearray(frame)
            raw[14 + self.family.header + 13] = 0x10
            frame = bytes(raw)
        verdict, _, out = shim.run_xdp(self.datapath._prog, self.ifindex, frame, b"")
        parsed = packet.parse(out)
        return parsed.flow.dest if verdict == 2 and parsed else None

    def observed(self) -> Frontend:
        seen = self.datapath.observe((ROUTER,))
        assert not seen.problem
        assert not seen.damaged
        return seen.frontends[self.wanted.key]

    @property
    def in_transition(self) -> bool:
        return self.datapath._tables.frontends[self.wanted.key].entry.previous_bits > 0

    def close(self) -> None:
        self.datapath.close()


@pytest.fixture
def world(names: Names, built: None, version: int) -> Iterator[World]:
    node = Node(names)
    with entered(node.netns):
        made = World(node, version)
        try:
            yield made
        finally:
            made.close()
            node.close()


@VERSIONS
def test_ten_backends_and_200_connections(world: World) -> None:
    """One is added, one ends gracefully, one dies, the agent restarts in between: nobody else's connection moves."""
    ten, added = world.pool[:10], world.pool[10]
    world.serve(ten)
    flows = {sport: world.send(sport, "S") for sport in range(2000, 2200)}

    def unmoved(*gone: Backend) -> bool:
        lost = {backend.address for backend in gone}
        return all(world.send(sport) == backend for sport, backend in flows.items() if backend not in lost)

    assert unmoved()
    world.serve([*ten, added])
    assert world.in_transition
    assert unmoved()
    new = {world.send(sport, "S") for sport in range(3000, 3200)}
    assert added.address in new
    leaving, rest = ten[0], [*ten[1:], added]
    world.serve(rest, [leaving])
    world.restart()
    assert unmoved()
    assert world.observed() == world.wanted
    assert leaving.address not in {world.send(sport, "S") for sport in range(4000, 4200)}
    dead, rest = rest[0], rest[1:]
    world.serve(rest, [leaving])
    assert unmoved(dead)
    world.serve(rest)
    world.restart()
    assert unmoved(dead, leaving)
    assert {world.send(sport, "S") for sport in range(5000, 5200)} == {backend.address for backend in rest}


@pytest.mark.parametrize(("version", "seed"), [(4, 1), (4, 2), (6, 3)])
def test_the_rule_under_random_changes(world: World, seed: int) -> None:
    dice = random.Random(seed)
    world.serve(world.pool[:3])
    serving, terminating = world.pool[:3], list[Backend]()
    flows: dict[int, IPAddress] = {}
    for step in range(60):
        match dice.choice(["open", "open", "packets", "packets", "change", "walk", "restart"]):
            case "open":
                for sport in dice.sample(range(1024, 60000), 20):
                    chosen = world.send(sport, "S") if sport not in flows else None
                    if chosen:
                        assert chosen in {backend.address for backend in serving}, step
                        flows[sport] = chosen
            case "packets":
                for sport in dice.sample(sorted(flows), min(len(flows), 30)):
                    assert world.send(sport) == flows[sport], (step, sport)
            case "change":
                before = {*serving, *terminating}
                serving = dice.sample(world.pool, dice.randint(1, 8))
                terminating = [b for b in before if b not in serving and dice.random() < 0.6]
                world.serve(serving, terminating)
                alive = {backend.address for backend in (*serving, *terminating)}
                flows = {sport: backend for sport, backend in flows.items() if backend in alive}
            case "walk":
                world.ahead += INTERVAL
                assert world.observed() == world.wanted
            case "restart":
                world.restart()
    for sport, backend in flows.items():
        assert world.send(sport) == backend


@pytest.mark.parametrize("version", [4])
def test_slots_become_steady_when_nobody_needs_them_any_more(world: World) -> None:
    leaving, rest = world.pool[0], world.pool[1:5]
    world.serve(world.pool[:5])
    world.send(1024, "S")
    world.serve(rest, [leaving])
    world.ahead += INTERVAL
    world.observed()
    assert world.in_transition, "the one that leaves may have flows that were not seen yet"
    world.serve(rest)
    world.ahead += WINDOW + 2 * INTERVAL
    assert world.observed() == world.wanted
    assert world.datapath._tables.frontends[world.wanted.key].entry.previous_bits == 0
    assert world.observed() == world.wanted


@pytest.mark.parametrize("version", [4])
def test_a_flood_of_syns_costs_no_established_flow_its_backend(world: World) -> None:
    """Slots in transition: four times what the table of new flows holds, all through them."""
    world.serve(world.pool[:5])
    world.serve(world.pool[:6])
    flows = {sport: world.send(sport, "S") for sport in range(2000, 2400)}
    for sport, backend in flows.items():
        assert world.send(sport) == backend
    for i in range(16 * LIMITS.flows_new):
        world.send(1024 + i % 60000, "S", world.family.client + 1 + i // 60000)
    assert len(world.datapath._loaded.maps.flows_new.dump()) > LIMITS.flows_new // 2
    assert all(world.send(sport) == backend for sport, backend in flows.items())


@VERSIONS
def test_with_affinity_a_client_keeps_its_backend_through_changes(world: World) -> None:
    world.serve(world.pool[:5], affinity=True)
    clients = {world.family.client + i: world.send(1, "S", world.family.client + i) for i in range(60)}
    world.serve(world.pool[:6], affinity=True)
    for client, backend in clients.items():
        assert world.send(2, "S", client) == backend
        assert world.send(3, "A", client) == backend
    leaving = world.pool[0]
    world.serve(world.pool[1:6], [leaving], affinity=True)
    for client, backend in clients.items():
        chosen = world.send(4, "S", client)
        if backend == leaving.address:
            assert chosen in {b.address for b in world.pool[1:6]}
        else:
            assert chosen == backend
