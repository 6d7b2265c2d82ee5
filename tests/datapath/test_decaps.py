"""What other nodes send to a backend that this node has just given up, or does not use itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import msgspec
import pytest

from announcer.model.lb import Backend, Frontend
from announcer.model.net import Protocol
from datapath import probe
from datapath.abi import PacketReason
from datapath.hand import Datapath
from tests.datapath.cluster import LIMITS, Cluster, pod, running
from tests.datapath.frames import frame, ipip, tcp
from tests.datapath.netns import Names
from tests.datapath.node import (
    LOCAL,
    REMOTE,
    SMALL,
    VIP,
    Node,
    done,
    eventually,
    failed,
    foreign,
    frontend,
    observe,
    program,
    proven,
    remove,
    verify,
)

pytestmark = pytest.mark.root

LINGER = 5.0
BOTH, REMOTE_ONLY = frontend(LOCAL, REMOTE), frontend(REMOTE)
LENT = frontend(REMOTE, for_others=(LOCAL,))
GONE = frontend(LOCAL, port=81)


class Clocked:
    """A datapath, and a clock that stands still unless the test moves it."""

    def __init__(self, node: Node) -> None:
        self.now = 1000.0
        self.node = node
        self.datapath = self.open()

    def open(self) -> Datapath:
        limits = msgspec.structs.replace(SMALL, linger=LINGER)
        made = Datapath(bpffs=self.node.bpffs, limits=limits, clock=lambda: self.now)
        made.open()
        self.node._open.append(made)
        return made

    def restart(self) -> None:
        self.datapath.close()
        self.node._open.remove(self.datapath)
        self.datapath = self.open()

    def takes(self, backend: Backend = LOCAL, vip: object = VIP) -> bool:
        """Would a packet that another node sends to this backend be taken?"""
        sent = frame(ipip(tcp(dst=vip), dst=backend.address), self.node.link().address)
        reason = probe.run(self.datapath._prog, self.node.link().ifindex, sent).reason
        assert reason in (PacketReason.DECAPSULATED, PacketReason.NOT_OURS)
        return reason is PacketReason.DECAPSULATED


@pytest.fixture
def clocked(node: Node) -> Clocked:
    return Clocked(node)


GIVEN_UP: dict[str, Callable[[Datapath], object]] = {
    "changed": lambda datapath: done(program(datapath, REMOTE_ONLY)),
    "removed": lambda datapath: done(remove(datapath, BOTH.key)),
}


@pytest.mark.parametrize("how", GIVEN_UP)
def test_a_backend_that_is_given_up_takes_packets_for_some_seconds(clocked: Clocked, how: str) -> None:
    done(program(clocked.datapath, BOTH))
    assert clocked.takes()
    GIVEN_UP[how](clocked.datapath)
    for _ in range(3):
        assert observe(clocked.datapath).maps["lb_decaps"].used == 1
        assert clocked.takes()
    clocked.now += LINGER
    assert observe(clocked.datapath).maps["lb_decaps"].used == 0
    assert not clocked.takes()


def test_one_that_comes_back_meanwhile_stays(clocked: Clocked) -> None:
    done(program(clocked.datapath, BOTH))
    done(program(clocked.datapath, REMOTE_ONLY))
    clocked.now += LINGER / 2
    done(program(clocked.datapath, BOTH))
    clocked.now += LINGER
    seen = observe(clocked.datapath)
    assert (seen.maps["lb_decaps"].used, seen.frontends) == (1, {BOTH.key: BOTH})
    assert clocked.takes()


def test_what_lingers_makes_room_for_what_is_wanted(clocked: Clocked) -> None:
    locals_ = [Backend(LOCAL.address + i, 8080, True) for i in range(SMALL.decaps)]
    done(program(clocked.datapath, frontend(*locals_)))
    assert "lb_decaps" in failed(program(clocked.datapath, frontend(*locals_[:1], port=81))), "control: it is full"
    done(program(clocked.datapath, frontend(*locals_[:4])))
    wanted = frontend(*locals_[4:10], port=81)
    done(program(clocked.datapath, wanted))
    assert not clocked.takes(locals_[5])
    seen = observe(clocked.datapath)
    assert seen.frontends[wanted.key] == wanted
    assert seen.maps["lb_decaps"].used == 10


def test_an_entry_that_somebody_takes_away_while_it_lingers_is_no_trouble(clocked: Clocked) -> None:
    done(program(clocked.datapath, BOTH))
    done(program(clocked.datapath, REMOTE_ONLY))
    maps = clocked.datapath._loaded.maps
    foreign(maps.decaps).remove(next(iter(maps.decaps.dump())))
    assert observe(clocked.datapath).maps["lb_decaps"].used == 0
    clocked.now += LINGER
    assert observe(clocked.datapath).frontends == {BOTH.key: REMOTE_ONLY}


def test_a_new_agent_lets_go_of_what_lingers_in_the_same_way(clocked: Clocked) -> None:
    """It finds it as what others may send; where the frontend is gone, so is that."""
    done(program(clocked.datapath, BOTH))
    done(program(clocked.datapath, GONE))
    done(program(clocked.datapath, REMOTE_ONLY))
    done(remove(clocked.datapath, GONE.key))
    clocked.restart()
    assert observe(clocked.datapath).frontends == {BOTH.key: LENT}
    done(program(clocked.datapath, REMOTE_ONLY))
    for _ in range(2):
        seen = observe(clocked.datapath)
        assert (seen.frontends, seen.maps["lb_decaps"].used) == ({BOTH.key: REMOTE_ONLY}, 1)
        assert clocked.takes()
    clocked.now += LINGER
    assert observe(clocked.datapath).maps["lb_decaps"].used == 0


def test_what_is_for_others_is_taken_read_back_and_outlives_the_agent(clocked: Clocked) -> None:
    done(program(clocked.datapath, REMOTE_ONLY))
    assert not clocked.takes()
    done(program(clocked.datapath, LENT))
    for _ in range(2):
        seen = observe(clocked.datapath)
        assert (seen.frontends, seen.damaged) == ({LENT.key: LENT}, {})
        assert clocked.takes()
        clocked.restart()
    done(program(clocked.datapath, REMOTE_ONLY))
    clocked.now += LINGER
    assert observe(clocked.datapath).frontends == {LENT.key: REMOTE_ONLY}
    assert not clocked.takes()


def test_a_backend_that_becomes_ready_or_stops_being_so_is_taken_all_the_time(clocked: Clocked) -> None:
    for wanted in (LENT, BOTH, LENT, frontend(REMOTE, LOCAL, affinity=True), LENT):
        done(program(clocked.datapath, wanted))
        assert observe(clocked.datapath).frontends == {wanted.key: wanted}
        clocked.now += 2 * LINGER
        assert observe(clocked.datapath).frontends == {wanted.key: wanted}
        assert clocked.takes()


def test_a_frontend_without_members_takes_for_others(clocked: Clocked) -> None:
    wanted = frontend(for_others=(LOCAL,))
    done(program(clocked.datapath, wanted))
    assert observe(clocked.datapath).frontends == {wanted.key: wanted}
    assert clocked.takes()


@pytest.mark.parametrize("what", ["taken away", "another port", "more"])
def test_damage_to_what_is_for_others_is_seen_and_mended(clocked: Clocked, what: str) -> None:
    done(program(clocked.datapath, LENT))
    assert observe(clocked.datapath).frontends == {LENT.key: LENT}
    table = foreign(clocked.datapath._loaded.maps.decaps)
    ((key, value),) = table.dump().items()
    match what:
        case "taken away":
            table.remove(key)
        case "another port":
            table.put(key, value[::-1])
        case "more":
            table.put(bytes(reversed(key[:16])) + key[16:], value)
    seen = observe(clocked.datapath)
    assert seen.frontends != {LENT.key: LENT}
    done(program(clocked.datapath, LENT))
    clocked.now += LINGER
    assert observe(clocked.datapath).frontends == {LENT.key: LENT}
    assert table.dump() == {key: value}


@pytest.mark.parametrize("served", [LENT, BOTH], ids=["for others", "of a member"])
def test_a_proof_reads_back_what_others_may_send(node: Node, served: Frontend) -> None:
    """Also one that is made anew, before any look has found the damage."""
    datapath = node.attached()
    done(program(datapath, served))
    for _ in range(2):
        proven(datapath, served)
    table = foreign(datapath._loaded.maps.decaps)
    ((key, value),) = table.dump().items()
    table.remove(key)
    failed(verify(datapath, served))
    table.put(key, value)
    proven(datapath, served)


def test_an_entry_of_nobody_that_somebody_wrote_is_no_trouble(clocked: Clocked) -> None:
    done(program(clocked.datapath, LENT))
    table = clocked.datapath._loaded.maps.decaps
    ((key, value),) = table.dump().items()
    table.put(key[:34] + b"\xff" + key[35:], value)  # a protocol that we never write
    seen = observe(clocked.datapath)
    assert (seen.frontends, seen.damaged) == ({LENT.key: LENT}, {})


@pytest.fixture(params=[0.0, 600.0], ids=["at once", "lingering"])
def cluster(request: pytest.FixtureRequest, names: Names, built: None) -> Iterator[tuple[Cluster, bool]]:
    with running(Cluster(names, limits=msgspec.structs.replace(LIMITS, linger=request.param))) as made:
        yield made, request.param > 0


def test_no_datagram_is_lost_while_nodes_learn_of_a_change(cluster: tuple[Cluster, bool]) -> None:
    """The backend's own node knows first. Control: without lingering every datagram that comes until then is lost."""
    nodes, lingers = cluster
    nodes.pod_server(1, socket.SOCK_DGRAM, 5353)
    served: Frontend = frontend(pod(1, 5353), port=53, protocol=Protocol.UDP)
    nodes.serve(served)
    with nodes.socket(socket.SOCK_DGRAM) as client:
        client.connect((str(VIP), 53))
        client.send(b"before")
        assert client.recv(100).endswith(b"before")
        with nodes.at(1) as datapath:
            assert datapath is not None
            done(program(datapath, frontend(port=53, protocol=Protocol.UDP)))
        taken = nodes.counters()[1]["decapsulated"]
        sent = nodes.counters()[0]["remote_tx"]
        for number in range(20):
            client.send(b"%d" % number)
            if lingers:
                assert client.recv(100).endswith(b"%d" % number)
        eventually(lambda: nodes.counters()[0]["remote_tx"] == sent + 20)
        if not lingers:
            assert nodes.counters()[1]["decapsulated"] == taken
