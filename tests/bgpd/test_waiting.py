"""ExaBGP sleeps while nothing can happen, and whatever happens wakes it."""

from __future__ import annotations

import asyncio
import math
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from exabgp.reactor.asynchronous import ASYNC

from announcer.model.steps import EndOfRib
from bgpd import wire
from bgpd.overlay import carry_out_without_event_loop
from bgpd.waiting import Sleep, awaited
from tests.bgpd.capture import Capture
from tests.bgpd.plain import plain_engine
from tests.bgpd.rig import SPEAKER_ADDRESS, Rig, eventually, neighbor, states
from tests.bgpd.scripted import KEEPALIVE, ScriptedPeer, neighbor_at
from tests.bgpd.test_passive import connecting_bird, passive
from tests.bgpd.test_sessions import VIP, announce, withdraw

TIMELESS = Path(__file__).parent / "timeless"
HOLD_TIME = 9  # a KEEPALIVE in every three seconds
KEEPALIVES = 2
SECONDS = KEEPALIVES * HOLD_TIME / 3
HOLD_TIMER_EXPIRED = (4, 0)
NOW, NEXT_SECOND = 1_000_000.25, 1_000_001.0


class Effort(NamedTuple):
    """What a process has done: how often it has begun to wait for something, and its CPU time in seconds."""

    sleeps: int
    busy: float

    @classmethod
    def of(cls, pid: int) -> Effort:
        status = Path(f"/proc/{pid}/status").read_text()
        sleeps = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        return cls(sleeps, int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9)

    def since(self, before: Effort) -> Effort:
        return Effort(self.sleeps - before.sleeps, self.busy - before.busy)


#: Of ``SECONDS``: it neither wakes all the time nor does it not sleep at all.
LITTLE = Effort(int(20 * SECONDS), 0.1 * SECONDS)


def little(effort: Effort) -> bool:
    return effort.sleeps < LITTLE.sleeps and effort.busy < LITTLE.busy


def effort_meanwhile(capture: Capture, pid: int) -> Effort:
    """What it does while so many KEEPALIVEs of ours go out, in ``SECONDS``."""

    def sent() -> int:
        ours = [m for m in capture.so_far() if m.source == str(SPEAKER_ADDRESS) and m.kind == wire.KEEPALIVE]
        return len(ours)

    eventually(lambda: sent() > 1, what="the session is up")
    first, before = sent(), Effort.of(pid)
    eventually(lambda: sent() >= first + KEEPALIVES, 5 * SECONDS)
    capture.stop()
    return Effort.of(pid).since(before)


@pytest.mark.root
def test_exabgp_sleeps_while_there_is_nothing_to_do(rig: Rig) -> None:
    """A handful of times in a second: a KEEPALIVE goes and comes, and a sign of life is asked for."""
    rig.start_bird(debug="off")
    capture = rig.capture()
    rig.configure(neighbor(hold_time=HOLD_TIME))
    rig.wait_established()
    assert little(effort_meanwhile(capture, rig.exabgp_pid()))
    assert rig.peer().session == 1


@pytest.mark.root
def test_the_speaker_sleeps_too(rig: Rig) -> None:
    """In a second it wakes to ask ExaBGP for a sign of life, with whatever else is due, and for the answer."""
    rig.start_bird(debug="off")
    rig.configure(neighbor(hold_time=3600))
    rig.wait_established()
    assert rig.speaker is not None
    pid = rig.speaker.pid

    def sleeps() -> bool:
        before, began = Effort.of(pid), time.monotonic()
        eventually(lambda: time.monotonic() > began + SECONDS, 5 * SECONDS)
        return Effort.of(pid).since(before).sleeps < 2.7 * (time.monotonic() - began)

    # Where ExaBGP has to wait for a CPU, the speaker looks more often what is the matter with it.
    eventually(sleeps, 10 * SECONDS)


@pytest.mark.root
def test_control_exabgp_as_it_comes_looks_about_all_the_time(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.start_bird(debug="off")
        capture = rig.capture()
        with plain_engine(rig, neighbor(hold_time=HOLD_TIME)) as engine:
            assert effort_meanwhile(capture, engine.process.pid).sleeps > 5 * LITTLE.sleeps


@pytest.mark.root
@pytest.mark.parametrize("there", ["nobody answers", "refused", "no route", "no such address", "nobody comes"])
def test_it_sleeps_as_well_while_there_is_no_session(rig: Rig, there: str) -> None:
    """It tries again meanwhile: nothing that is in the way goes by itself, and afterwards the session comes up."""
    wanted = neighbor(hold_time=HOLD_TIME)
    undo: Callable[[], object] = lambda: None  # noqa: E731
    if there == "nobody answers":
        rig.in_speaker("ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:77 dev eth0 nud permanent")
        undo = lambda: rig.in_speaker("ip neigh del 10.99.0.2 dev eth0")  # noqa: E731
    elif there == "no route":
        rig.in_speaker("ip route add unreachable 10.99.0.2/32")
        undo = lambda: rig.in_speaker("ip route del unreachable 10.99.0.2/32")  # noqa: E731
    elif there == "no such address":
        wanted = neighbor(hold_time=HOLD_TIME, local_address=IPv4Address("10.99.0.77"))
        undo = lambda: rig.in_speaker("ip address add 10.99.0.77/24 dev eth0")  # noqa: E731
    elif there == "nobody comes":
        wanted = passive(hold_time=HOLD_TIME)
    rig.configure(wanted)
    pid = rig.exabgp_pid()
    before, end = Effort.of(pid), time.monotonic() + SECONDS
    eventually(lambda: time.monotonic() > end, 5 * SECONDS)
    assert little(Effort.of(pid).since(before))
    undo()
    if there == "nobody comes":
        connecting_bird(rig)
    else:
        rig.start_bird(speaker=str(wanted.local_address))
    rig.wait_established()


@pytest.mark.root
def test_hold_timers_run_while_it_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer reads and says nothing, and nothing but whole seconds wakes ExaBGP."""
    monkeypatch.setenv("PYTHONPATH", str(TIMELESS))
    monkeypatch.setenv("LOCKSTEP_TEST_TICKS", "1")
    with Rig(tmp_path) as rig:
        peer = ScriptedPeer(rig, "10.99.0.100", KEEPALIVE, established=True, silent=True)
        rig.start_speaker()
        rig.configure(neighbor_at(peer.address, name="silent", hold_time=HOLD_TIME))
        eventually(lambda: bool(peer.notifications), 5 * HOLD_TIME)
        assert set(peer.notifications) == {HOLD_TIMER_EXPIRED}
        peer.stop()


@pytest.fixture
def timeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A speaker and an ExaBGP that do nothing just because time passes."""
    monkeypatch.setenv("PYTHONPATH", str(TIMELESS))
    with Rig(tmp_path) as made:
        made.start_speaker()
        yield made


@pytest.mark.root
def test_whatever_happens_wakes_it(timeless: Rig) -> None:
    rig = timeless
    bird = rig.start_bird()
    rig.configure(neighbor(hold_time=0))  # there are no KEEPALIVEs either
    rig.wait_established()

    assert states(rig.apply(announce(), EndOfRib(lane="r1", peer="r1", session=1))) == {"done"}
    rig.wait(lambda seen: seen.peers["r1"].rib[VIP].sent and seen.peers["r1"].end_of_rib == 1)
    assert states(rig.apply(withdraw())) == {"done"}
    rig.wait(lambda seen: VIP not in seen.peers["r1"].rib)

    bird.ask("restart speaker")
    rig.wait_established(session=2)

    assert rig.configure(neighbor(hold_time=0), passive("r2", 1, hold_time=0)).problem == "", (
        "a signal has it load its configuration"
    )
    connecting_bird(rig, 1)
    rig.wait_established("r2")
    assert (
        rig.configure(neighbor(hold_time=0, multihop=True), passive("r2", 1, hold_time=0, multihop=True)).problem == ""
    )
    rig.wait_established("r1", session=3)
    rig.wait_established("r2", session=2)
    rig.configure(passive("r2", 1, hold_time=0, multihop=True))
    rig.wait(lambda seen: list(seen.peers) == ["r2"])
    assert rig.observe().peers["r2"].session == 2

    relay = int(Path(f"/proc/{rig.exabgp_pid()}/task/{rig.exabgp_pid()}/children").read_text())
    os.kill(relay, signal.SIGKILL)
    rig.wait_established("r2", session=3)
    assert sum(rig.observe().engine_restarts.values()) == 1

    pid = rig.exabgp_pid()
    os.kill(pid, signal.SIGTERM)
    rig.wait_established("r2", session=4)
    assert rig.exabgp_pid() != pid


@pytest.mark.root
def test_that_it_was_stopped_is_noticed_though_it_owes_nothing(timeless: Rig) -> None:
    """The kernel tells its parent: nobody looks while nothing is owed."""
    rig = timeless
    rig.start_bird()
    rig.configure(neighbor(hold_time=0))
    rig.wait_established()
    os.kill(rig.exabgp_pid(), signal.SIGSTOP)
    rig.wait(lambda seen: seen.engine_resumptions == 1)
    assert states(rig.apply(announce())) == {"done"}


@pytest.mark.root
def test_a_connection_that_is_refused_at_first_is_made_again(timeless: Rig) -> None:
    """The end of the back-off wakes it, and so does what comes of the attempt."""
    rig = timeless
    rig.configure(neighbor())
    rig.wait(lambda seen: seen.peers["r1"].last_error is not None)
    rig.start_bird()
    rig.wait_established()


def begun() -> Iterator[int]:
    """What a peer does, after its first step."""
    steps = iter_for_ever()
    next(steps)
    return steps


def iter_for_ever() -> Iterator[int]:
    while True:
        yield 0


class FakePeer:
    """A peer of ExaBGP. ``doing``: its generator."""

    def __init__(self, doing: Any, *, descriptor: int = -1, until: float = NOW - 1) -> None:
        self.generator = doing
        self._delay = SimpleNamespace(_time=until)
        self.socket = lambda: descriptor


def reactor(peer: FakePeer, pause: float = math.inf) -> Any:
    listener = SimpleNamespace(descriptors=[8], pause=lambda: pause)
    return SimpleNamespace(
        processes=SimpleNamespace(fds=[7]), listener=listener, active_peers=lambda: {"r1"}, _peers={"r1": peer}
    )


@pytest.mark.parametrize(
    ("peer", "descriptors", "until"),
    [
        (FakePeer(begun(), descriptor=9), {9: select.POLLIN | select.POLLPRI}, NEXT_SECOND),
        (FakePeer(None, until=NOW + 0.2), {}, NOW + 0.2),
        (FakePeer(None, until=NOW + 60), {}, NEXT_SECOND),
        (FakePeer(None), {}, NOW - 1),
        (FakePeer(iter_for_ever(), descriptor=9), {}, NOW),
        (FakePeer(False), {}, NEXT_SECOND),
    ],
    ids=["session", "backs off", "backs off long", "begins", "has begun nothing", "is done"],
)
def test_what_is_waited_for(peer: FakePeer, descriptors: dict[int, int], until: float) -> None:
    assert awaited(reactor(peer), NOW) == ({7: select.POLLIN, 8: select.POLLIN} | descriptors, until)


@pytest.mark.parametrize("descriptor", [9, -1])
def test_an_attempt_is_waited_for_and_one_that_failed_at_once_is_made_again(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    peer = FakePeer(begun())
    monkeypatch.setattr("bgpd.waiting._attempts", {peer: SimpleNamespace(fd=lambda: descriptor)})
    found = awaited(reactor(peer), NOW)
    assert found.descriptors.get(9) == (select.POLLOUT if descriptor == 9 else None)
    assert (found.until == NEXT_SECOND) is (descriptor == 9)
    assert NOW < found.until <= NEXT_SECOND


def test_the_listener_has_its_turn() -> None:
    assert awaited(reactor(FakePeer(False), pause=0.125), NOW).until == NOW + 0.125


def test_the_queue_is_not_slept_over() -> None:
    """What it did may have given the peers something to do. There is nothing else in that reactor to look at."""
    sleep = Sleep.__new__(Sleep)
    sleep._reactor = SimpleNamespace(asynchronous=SimpleNamespace(moved=True))
    sleep.until_something_can_happen()


@contextmanager
def put_back(kind: type, name: str) -> Iterator[None]:
    before = getattr(kind, name)
    try:
        yield
    finally:
        setattr(kind, name, before)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.AbstractEventLoop]:
    """All event loops that are made; ExaBGP's log goes nowhere."""
    made: list[asyncio.AbstractEventLoop] = []
    original = asyncio.events.new_event_loop

    def make() -> asyncio.AbstractEventLoop:
        made.append(original())
        return made[-1]

    monkeypatch.setattr(asyncio.events, "new_event_loop", make)
    quiet = lambda *_: None  # noqa: E731
    monkeypatch.setattr("exabgp.reactor.asynchronous.log", SimpleNamespace(debug=quiet, error=quiet))
    return made


def commands(done: list[int], count: int) -> ASYNC:
    """A queue with so many commands, each of which takes two steps."""

    def command(number: int) -> Iterator[bool]:
        yield False
        done.append(number)

    queue = ASYNC()
    for number in range(count):
        queue.schedule("relay", "announce", command(number))
    return queue


def test_commands_need_no_event_loop(loops: list[Any]) -> None:
    with put_back(ASYNC, "run"):
        carry_out_without_event_loop()
        done: list[int] = []
        queue = commands(done, 3)
        assert queue.run() is False
        assert (done, len(loops)) == ([0, 1, 2], 0)
        assert queue.run() is False
        queue = commands(done, ASYNC.LIMIT)
        assert queue.run() is True, "some are left for the next turn"
        while queue.run():
            pass
        assert len(done) == 3 + ASYNC.LIMIT

        async def coroutine() -> None:
            await asyncio.sleep(0)
            done.append(-1)

        queue.schedule("relay", "coroutine", coroutine())
        queue.run()
        assert done[-1] == -1, "ExaBGP knows what to do with others"


def test_control_exabgp_as_it_comes_makes_one_each_time(loops: list[Any]) -> None:
    done: list[int] = []
    commands(done, 1).run()
    commands(done, 1).run()
    assert (done, len(loops)) == ([0, 0], 2)
