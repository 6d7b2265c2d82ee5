"""The Adj-RIB-Out against a model of the engine: any order of wants, reads, writes, receipts and session changes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from announcer.model.bgp import Origin, RibEntry, Route
from announcer.model.net import Family, IPAddress, IPNetwork
from bgpd.adj_rib_out import AdjRibOut
from bgpd.commands import BATCH_PREFIXES
from bgpd.wire import Update
from tests.bgpd.engine_model import EngineModel

PEER = IPv4Address("10.0.0.1")
LOCAL = IPv4Address("10.0.0.2")
NEXT_HOPS: dict[Family, IPAddress] = {Family.IPV4: LOCAL, Family.IPV6: IPv6Address("2001:db8::2")}
ONLY_IPV4: dict[Family, IPAddress] = {Family.IPV4: LOCAL}
PREFIXES: list[IPNetwork] = [IPv4Network((0x0A000000 + 256 * number, 24)) for number in range(2)]
PREFIX6 = IPv6Network("2001:db8:1::/64")
ATTRIBUTES: list[dict[str, Any]] = [
    {}, {"communities": ((1, 1),)}, {"large_communities": ((1, 1, 1),)}, {"med": 1}, {"prepend": 1},
    {"origin": Origin.INCOMPLETE},
]  # fmt: skip
UPDATE_BYTES = 23


class AdjRibOutMachine(RuleBasedStateMachine):
    """``wanted`` is what an agent asked for; the promise is about what the modelled peer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.rib = AdjRibOut(peer=PEER, internal=False, local_asn=1)
        self.engine = EngineModel()
        self.wanted: dict[IPNetwork, Route] = {}
        self.session = 0
        self.stream = 0
        self.received = 0
        self.families: frozenset[Family] = frozenset()
        self.told: dict[IPNetwork, RibEntry | None] = {}  # by changed()
        self.carried: dict[IPNetwork, int] = {}  # where in the stream the last UPDATE for a prefix ends
        self.standing: dict[IPNetwork, int] = {}  # and the first one after which it was not withdrawn

    # --- the agent ----------------------------------------------------------------------------------------------

    @rule(nlri=st.sampled_from([*PREFIXES, PREFIX6]), attributes=st.sampled_from(ATTRIBUTES))
    def want(self, nlri: IPNetwork, attributes: dict[str, Any]) -> None:
        route = Route(nlri=nlri, **attributes)
        self.wanted[nlri] = route
        self.rib.want(route)

    @rule(nlri=st.sampled_from([*PREFIXES, PREFIX6]))
    def unwant(self, nlri: IPNetwork) -> None:
        self.wanted.pop(nlri, None)
        self.rib.unwant(nlri)

    # --- the shell ----------------------------------------------------------------------------------------------

    @rule()
    def tell(self) -> None:
        if batch := self.rib.next_batch():
            self.engine.commands.append(batch)

    @rule(bytes_=st.integers(0, 2 * UPDATE_BYTES))
    def receive(self, bytes_: int) -> None:
        if self.engine.up:
            self.received = min(self.stream, self.received + bytes_)
            self.rib.left(self.received)

    # --- the engine ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.engine.commands)
    @rule()
    def read_prefix(self) -> None:
        batch = self.engine.read_prefix()
        if batch and (follow := self.rib.answered(batch, True)):
            self.engine.commands.append(follow)

    @precondition(lambda self: not self.engine.commands)
    @rule()
    def ping(self) -> None:
        self._emit(self.engine.write())
        self.rib.doubts_over()

    @rule()
    def write(self) -> None:
        self._emit(self.engine.write())

    @precondition(lambda self: not self.engine.up)
    @rule(next_hops=st.sampled_from([NEXT_HOPS, ONLY_IPV4]))
    def come_up(self, next_hops: dict[Family, IPAddress]) -> None:
        self.session += 1
        self.stream = self.received = 0
        self.carried, self.standing = {}, {}
        self.families = frozenset(next_hops)
        self.rib.session_up(self.session, next_hops)
        self._emit(self.engine.session_up(self.families))

    @precondition(lambda self: self.engine.up)
    @rule()
    def go_down(self) -> None:
        self.engine.session_down()
        self.engine.rib_of_peer = {}
        self.carried, self.standing = {}, {}
        self.rib.session_down()

    @rule(often=st.integers(0, 9))
    def lose_engine(self, often: int) -> None:
        if often:
            return
        self.engine = EngineModel()
        self.carried, self.standing = {}, {}
        self.rib.engine_lost()

    def _emit(self, updates: list[Update]) -> None:
        for update in updates:
            # What the RIB had forgotten must not come up again: whoever saw it gone may have acted on that.
            assert set(update.announced) <= set(self.rib.entries())
            self.stream += UPDATE_BYTES
            self.carried.update(dict.fromkeys(update.withdrawn + update.announced, self.stream))
            for nlri in update.withdrawn:
                self.standing.pop(nlri, None)
            self.standing = dict.fromkeys(update.announced, self.stream) | self.standing
            self.rib.emitted(update, self.stream)

    # --- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def what_a_peer_holds_is_in_the_rib(self) -> None:
        """So an agent that waits for a prefix to be gone waits for the peer too."""
        assert set(self.engine.rib_of_peer) <= set(self.rib.entries())

    @invariant()
    def whatever_changes_is_said(self) -> None:
        self.told.update(self.rib.changed())
        assert {nlri: entry for nlri, entry in self.told.items() if entry is not None} == self.rib.entries()

    @invariant()
    def everything_wanted_is_in_the_rib(self) -> None:
        entries = self.rib.entries()
        assert {nlri: entry.route for nlri, entry in entries.items() if not entry.withdrawing} == self.wanted

    @invariant()
    def sent_and_gone_mean_received(self) -> None:
        entries = self.rib.entries()
        for nlri, entry in entries.items():
            if entry.sent:
                assert self.engine.rib_of_peer[nlri] == entry.route
                assert entry.next_hop == NEXT_HOPS[Family.of(nlri)]
                assert self.carried[nlri] <= self.received
        for nlri, offset in self.carried.items():
            assert nlri in entries or offset <= self.received

    @invariant()
    def held_means_that_some_route_was_received(self) -> None:
        """This one, or one that it replaces."""
        for nlri, entry in self.rib.entries().items():
            if not entry.withdrawing:
                assert entry.held is (self.standing.get(nlri, self.stream + 1) <= self.received)
                assert entry.replacing is (entry.held and not entry.sent)

    def teardown(self) -> None:
        """Left alone, everything settles: the peer holds exactly what is wanted, and the RIB says so.

        What the session cannot carry waits for another.
        """
        if not self.engine.up:
            self.come_up(NEXT_HOPS)
        for _ in range(20):
            self.tell()
            while self.engine.commands:
                self.read_prefix()
            self.ping()
            self.receive(self.stream)
        carried = {nlri: route for nlri, route in self.wanted.items() if Family.of(nlri) in self.families}
        assert self.engine.rib_of_peer == carried
        assert all(entry.acknowledged for entry in self.rib.entries().values())
        assert {nlri for nlri, entry in self.rib.entries().items() if entry.sent} == set(carried)
        assert set(self.rib.entries()) == set(self.wanted)
        assert self.rib.settled
        assert not self.rib.leaving


TestAdjRibOut = AdjRibOutMachine.TestCase
TestAdjRibOut.settings = settings(max_examples=1000, stateful_step_count=50, deadline=None)


def test_equal_attributes_share_a_line_up_to_its_limit() -> None:
    rib = AdjRibOut(peer=PEER, internal=False, local_asn=1)
    for number in range(250):
        communities = ((1, 1),) if number % 2 else ()
        rib.want(Route(nlri=IPv4Network((0x0A000000 + 256 * number, 24)), communities=communities))
    rib.session_up(1, NEXT_HOPS)
    sizes = []
    while batch := rib.next_batch():
        sizes.append((len(batch.prefixes), batch.route.communities))
    assert BATCH_PREFIXES == 100
    assert sizes == [(100, ()), (100, ((1, 1),)), (25, ()), (25, ((1, 1),))]


def test_a_refused_command_is_not_repeated_until_something_changes() -> None:
    rib = AdjRibOut(peer=PEER, internal=False, local_asn=1)
    rib.session_up(1, NEXT_HOPS)
    rib.want(Route(nlri=PREFIXES[0]))
    batch = rib.next_batch()
    assert batch is not None
    rib.answered(batch, False)
    assert rib.refused(PREFIXES[0])
    assert rib.next_batch() is None
    rib.want(Route(nlri=PREFIXES[0]))
    assert rib.next_batch() is not None


def _told_before_the_session() -> AdjRibOutMachine:
    """A command was given in a session that is over, and there is another."""
    machine = AdjRibOutMachine()
    machine.come_up(NEXT_HOPS)
    machine.want(nlri=PREFIXES[0], attributes={})
    machine.tell()
    machine.go_down()
    machine.come_up(NEXT_HOPS)
    return machine


def test_a_command_that_outlives_two_sessions_brings_nothing_back() -> None:
    """It was told in the first, taken and repeated in the second, and is unwanted when the third comes up."""
    machine = _told_before_the_session()
    machine.read_prefix()
    machine.write()
    machine.go_down()
    machine.unwant(nlri=PREFIXES[0])
    machine.teardown()


def test_what_is_written_before_its_command_is_answered_is_said() -> None:
    """Two prefixes in a command, of which ExaBGP has come to the first."""
    machine = AdjRibOutMachine()
    machine.come_up(NEXT_HOPS)
    for nlri in PREFIXES:
        machine.want(nlri=nlri, attributes={})
    machine.tell()
    machine.whatever_changes_is_said()
    machine.read_prefix()
    machine.write()
    assert machine.rib.entries()[PREFIXES[0]].acknowledged
    machine.whatever_changes_is_said()


def test_that_a_doubt_is_over_is_said() -> None:
    """The command was told in one session and taken in the next."""
    machine = _told_before_the_session()
    machine.read_prefix()
    machine.read_prefix()
    machine.write()
    machine.receive(machine.stream)
    machine.whatever_changes_is_said()
    assert not machine.rib.entries()[PREFIXES[0]].sent
    machine.ping()
    assert machine.rib.entries()[PREFIXES[0]].sent
    machine.whatever_changes_is_said()


def _with_a_withdrawal_on_its_way() -> AdjRibOutMachine:
    """One route was announced and withdrawn; nothing was received yet, and the route is wanted again."""
    machine = AdjRibOutMachine()
    machine.come_up(NEXT_HOPS)
    machine.want(nlri=PREFIXES[0], attributes={})
    _goes_out(machine)
    machine.unwant(nlri=PREFIXES[0])
    _goes_out(machine)
    machine.want(nlri=PREFIXES[0], attributes={})
    return machine


def _goes_out(machine: AdjRibOutMachine) -> None:
    machine.tell()
    machine.read_prefix()
    machine.write()


def test_what_replaces_a_withdrawal_replaces_no_route() -> None:
    """It arrives first and alone."""
    machine = _with_a_withdrawal_on_its_way()
    _goes_out(machine)
    held = []
    for _ in range(3):
        machine.receive(UPDATE_BYTES)
        machine.held_means_that_some_route_was_received()
        held.append(machine.rib.entries()[PREFIXES[0]].held)
    assert held == [False, False, True]


def test_what_is_wanted_again_once_its_withdrawal_was_received_is_not_held() -> None:
    machine = _with_a_withdrawal_on_its_way()
    machine.receive(machine.stream)
    assert not machine.rib.entries()[PREFIXES[0]].held


@pytest.mark.parametrize("attributes", [a for a in ATTRIBUTES if a] + [{"local_pref": 1}, {"next_hop": LOCAL}])
def test_different_attributes_never_share_a_line(attributes: dict[str, Any]) -> None:
    rib = AdjRibOut(peer=PEER, internal=True, local_asn=1)
    rib.want(Route(nlri=PREFIXES[0]))
    rib.want(Route(nlri=PREFIXES[1], **attributes))
    rib.session_up(1, NEXT_HOPS)
    batches = [rib.next_batch(), rib.next_batch()]
    assert [batch and batch.prefixes for batch in batches] == [(PREFIXES[0],), (PREFIXES[1],)]
    assert batches[1] is not None
    assert batches[1].route == Route(nlri=PREFIXES[1], **attributes)


def test_families_never_share_a_line() -> None:
    rib = AdjRibOut(peer=PEER, internal=False, local_asn=1)
    for nlri in (PREFIXES[0], PREFIX6, PREFIXES[1]):
        rib.want(Route(nlri=nlri))
    rib.session_up(1, NEXT_HOPS)
    batches = [rib.next_batch(), rib.next_batch()]
    assert [batch and (batch.prefixes, batch.next_hop) for batch in batches] == [
        (tuple(PREFIXES), LOCAL),
        ((PREFIX6,), IPv6Address("2001:db8::2")),
    ]
