"""What is told of changes, put together, is what everything is; and what did not change is the same object."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from announcer.model.bgp import Neighbor, Password, Route
from announcer.model.codec import to_json
from announcer.model.net import Family, IPAddress, IPNetwork
from announcer.model.observed import BgpObserved
from announcer.model.steps import Announce, Withdraw
from bgpd import messages, publication
from bgpd.core import Core, Now
from bgpd.heard import Heard
from bgpd.messages import News, Observe, Observed, Seen
from bgpd.peer import Peer
from bgpd.protocol import FsmChanged, StateChanged
from bgpd.publication import Publication
from bgpd.secrecy import hide_in_peer
from bgpd.wire import Update
from tests.bgpd.engine_model import EngineModel
from tests.bgpd.rig import Rig, neighbor

PREFIXES: list[IPNetwork] = [IPv4Network((0x0A000000 + 256 * number, 24)) for number in range(4)]
NEIGHBORS = [
    neighbor("r1"),
    neighbor("r2", 1),
    neighbor("r2", 1, password=Password("secret")),
    neighbor("r1", hold_time=60),
    neighbor("r3"),  # the first one under another name
]
NEXT_HOPS: dict[Family, IPAddress] = {Family.IPV4: IPv4Address("10.99.0.1")}
MOMENT = Now(0.0, 0.0)
UPDATE_BYTES = 23
FEW_CHANGES = 3


def over_the_socket(reply: Observed | News) -> Observed | News:
    parsed = messages.parse_reply(messages.reply_line(reply))
    assert isinstance(parsed, Observed | News)
    return parsed


def hidden(observed: BgpObserved) -> dict[str, Any]:
    return {name: hide_in_peer(peer) for name, peer in observed.peers.items()}


class Client:
    """Of one connection. ``configured``: over it."""

    def __init__(self) -> None:
        self._heard = Heard()
        self._last: BgpObserved | None = None
        self._last_text = b""
        self.configured: dict[str, Neighbor] = {}

    def observe(self, speaker: Publication, core: Core) -> None:
        reply = over_the_socket(speaker.answer(Observe(1, self._heard.seen)))
        assert isinstance(reply, News) is (self._heard.seen is not None), "a number that is known is not begun anew"
        self._heard.take(reply)
        found, before = self._heard.observed(self.configured), self._last
        assert hidden(found) == hidden(core.observed())
        if self.configured:
            assert found == core.observed(), "who configured it knows the passwords"
        if before is not None:
            assert to_json(before) == self._last_text, "whoever holds an earlier answer has it as it was"
            self._compare(before, found)
        self._last, self._last_text = found, to_json(found)

    @staticmethod
    def _compare(before: BgpObserved, found: BgpObserved) -> None:
        """What did not change is the same object, also where the speaker itself began anew with it."""
        assert (before is found) is (before == found)
        for name in before.peers.keys() & found.peers.keys():
            earlier, later = before.peers[name], found.peers[name]
            assert (earlier is later) is (earlier == later)
            assert (earlier.rib is later.rib) is (earlier.rib == later.rib)
            for nlri in earlier.rib.keys() & later.rib.keys():
                assert (earlier.rib[nlri] is later.rib[nlri]) is (earlier.rib[nlri] == later.rib[nlri])


class PublicationMachine(RuleBasedStateMachine):
    """A speaker whose core has anything happen to it, and two clients that ask."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(publication, "KNOWN_CHANGES", FEW_CHANGES)  # some answers need more
        self.start()
        self.connect()

    def teardown(self) -> None:
        self._patch.undo()

    @rule()
    def start(self) -> None:
        """Another speaker process. Who was connected to the one before notices that he is not any more."""
        self.core = Core()
        self.engines: dict[Peer, EngineModel] = {}
        self.streams: dict[Peer, int] = {}
        self.publication = Publication(self.core)
        self.connect()

    @rule()
    def connect(self) -> None:
        self.always, self.seldom = Client(), Client()

    # --- what happens to the speaker ----------------------------------------------------------------------------

    @rule(which=st.lists(st.sampled_from(NEIGHBORS), max_size=3, unique_by=lambda n: n.address))
    def configure(self, which: list[Neighbor]) -> None:
        self.core.set_neighbors(which, MOMENT)
        self.always.configured = self.seldom.configured = {found.name: found for found in which}

    def _peer(self, data: st.DataObject) -> Peer:
        return data.draw(st.sampled_from(list(self.core.peers.values())))

    def _engine(self, peer: Peer) -> EngineModel:
        return self.engines.setdefault(peer, EngineModel())

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data(), nlri=st.sampled_from(PREFIXES), med=st.integers(0, 1))
    def want(self, data: st.DataObject, nlri: IPNetwork, med: int) -> None:
        self._peer(data).rib.want(Route(nlri=nlri, med=med))

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data(), nlri=st.sampled_from(PREFIXES))
    def unwant(self, data: st.DataObject, nlri: IPNetwork) -> None:
        self._peer(data).rib.unwant(nlri)

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data())
    def come_up(self, data: st.DataObject) -> None:
        peer = self._peer(data)
        if not peer.rib.up:
            peer.state_changed(StateChanged(peer.neighbor.address, "up"), now=0.0, wall=0.0)
            peer.rib.session_up(peer.session, NEXT_HOPS)  # as if it had offered IPv4
            self.streams[peer] = 0
            self._emit(peer, self._engine(peer).session_up(frozenset(NEXT_HOPS)))

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data())
    def go_down(self, data: st.DataObject) -> None:
        peer = self._peer(data)
        self._engine(peer).session_down()
        peer.state_changed(StateChanged(peer.neighbor.address, "down", "it went"), now=1.0, wall=1.0)

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data())
    def tell(self, data: st.DataObject) -> None:
        peer = self._peer(data)
        if peer.rib.up and (batch := peer.rib.next_batch()):
            self._engine(peer).commands.append(batch)

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data(), ok=st.booleans())
    def answer(self, data: st.DataObject, ok: bool) -> None:
        peer = self._peer(data)
        engine = self._engine(peer)
        while engine.commands:
            batch = engine.read_prefix()
            if batch and (follow := peer.rib.answered(batch, ok)):
                engine.commands.append(follow)

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data(), received=st.booleans())
    def write(self, data: st.DataObject, received: bool) -> None:
        peer = self._peer(data)
        if peer.rib.up:
            self._emit(peer, self._engine(peer).write())
            peer.rib.doubts_over()
            if received:
                peer.received(self.streams[peer])

    def _emit(self, peer: Peer, updates: list[Update]) -> None:
        for update in updates:
            self.streams[peer] += UPDATE_BYTES
            peer.rib.emitted(update, self.streams[peer])

    @rule()
    def lose_engine(self) -> None:
        self.engines.clear()
        self.core.engine_lost(MOMENT, "it is gone")

    @precondition(lambda self: self.core.peers)
    @rule(data=st.data())
    def attempt(self, data: st.DataObject) -> None:
        peer = self._peer(data)
        self.core._event(FsmChanged(peer.neighbor.address, "OPENSENT"), MOMENT)

    @rule()
    def notice_a_clock_step(self) -> None:
        self.core.clock_steps += 1

    # --- the clients --------------------------------------------------------------------------------------------

    @invariant()
    def observe_all_the_time(self) -> None:
        self.always.observe(self.publication, self.core)

    @rule()
    def observe_now_and_then(self) -> None:
        self.seldom.observe(self.publication, self.core)

    @rule(data=st.data())
    def ask_from_an_unknown_number(self, data: st.DataObject) -> None:
        odd = data.draw(st.sampled_from([Seen("another", 0), Seen(self.publication._speaker, 10**6)]))
        assert isinstance(self.publication.answer(Observe(1, odd)), Observed)


TestPublication = PublicationMachine.TestCase
TestPublication.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)


@pytest.fixture
def speaker() -> Iterator[PublicationMachine]:
    """A speaker with one peer that has all prefixes, of which both clients have been told."""
    made = PublicationMachine()
    made.configure([NEIGHBORS[0]])
    for nlri in PREFIXES:
        made.core.peers["r1"].rib.want(Route(nlri=nlri))
    made.observe_now_and_then()
    made.observe_all_the_time()
    yield made
    made.teardown()


@pytest.mark.parametrize("known", [FEW_CHANGES, 2 * len(PREFIXES)], ids=["more than is known", "all is known"])
def test_who_missed_more_than_is_known_is_told_everything(
    speaker: PublicationMachine, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr(publication, "KNOWN_CHANGES", known)
    for nlri in PREFIXES:
        speaker.core.peers["r1"].rib.unwant(nlri)
        speaker.observe_all_the_time()
    speaker.observe_now_and_then()


def test_what_is_said_is_what_has_changed(speaker: PublicationMachine) -> None:
    """Nothing if that is nothing; and one route if that is one."""
    reply = speaker.publication.answer(Observe(1))
    assert reply.seen is not None
    nothing = speaker.publication.answer(Observe(2, reply.seen))
    assert messages.reply_line(nothing) == messages.reply_line(News(2, reply.seen))
    speaker.core.peers["r1"].rib.want(Route(nlri=PREFIXES[0], med=5))
    one = speaker.publication.answer(Observe(3, reply.seen))
    assert isinstance(one, News)
    assert (one.outline, one.names, list(one.peers)) == (None, None, ["r1"])
    assert (one.peers["r1"].outline, list(one.peers["r1"].rib), one.peers["r1"].gone) == (None, PREFIXES[:1], [])


def test_a_speaker_that_cannot_say_what_is_new_is_asked_for_everything() -> None:
    """It is of an earlier release: the question and its answer are what they were then."""
    heard = Heard()
    reply = messages.parse_reply(b'{"reply":{"type":"observed","id":1,"observed":{"reachable":true,"clock_steps":4}}}')
    assert isinstance(reply, Observed)
    heard.take(reply)
    assert heard.observed({}) == BgpObserved(reachable=True, clock_steps=4)
    assert heard.seen is None


def test_an_agent_that_cannot_take_news_is_told_everything(speaker: PublicationMachine) -> None:
    """So can an agent of an earlier release, after a step back."""
    question = messages.parse_request(b'{"request":{"type":"observe","id":1}}')
    assert isinstance(question, Observe)
    for _ in range(2):
        reply = speaker.publication.answer(question)
        assert isinstance(reply, Observed)
        assert reply.observed == speaker.core.observed()


@pytest.mark.root
def test_over_one_connection_what_is_the_same_is_the_same_object(rig: Rig) -> None:
    rig.start_bird()
    rig.configure(neighbor(), neighbor("r2", 1))
    rig.wait_established("r1")
    rig.apply(*(Announce(lane="x", peer="r1", route=Route(nlri=nlri)) for nlri in PREFIXES[:2]))
    first = rig.wait(lambda seen: all(entry.sent for entry in seen.peers["r1"].rib.values()))
    rig.apply(Announce(lane="x", peer="r1", route=Route(nlri=PREFIXES[2])))
    rig.apply(Withdraw(lane="x", peer="r1", nlri=PREFIXES[1]))
    later = rig.wait(lambda seen: seen.peers["r1"].rib.keys() == {PREFIXES[0], PREFIXES[2]})
    later = rig.wait(lambda seen: seen.peers["r1"].rib[PREFIXES[2]].sent)
    assert first.peers["r1"].rib.keys() == set(PREFIXES[:2])
    assert later.peers["r1"].rib[PREFIXES[0]] is first.peers["r1"].rib[PREFIXES[0]]
    assert later.peers["r2"].rib is first.peers["r2"].rib

    now = rig.observe()
    assert rig.observe() is now
    rig.replace_client()
    anew = rig.wait(lambda seen: seen.reachable)
    assert anew is not now
    assert anew.peers["r1"] == now.peers["r1"]

    assert rig.speaker is not None
    rig.speaker.kill()
    rig.speaker.communicate()
    rig.start_speaker()
    assert rig.observe().peers == {}
