"""The dialogue with the engine, whatever way its answers are cut and interleaved."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.bgp import Route
from announcer.model.errors import TargetError
from announcer.model.net import Family
from bgpd.commands import Batch, Command, EndOfRibCommand, Ping
from bgpd.protocol import MAX_LINE_BYTES, Answered, Dialogue, FsmChanged, Message, StateChanged

PEER = IPv4Address("10.0.0.1")
LOCAL = IPv4Address("10.0.0.2")
STATE = (
    b'{ "exabgp": "5.0.0", "type": "state", "neighbor": { "address": { "local": "%s", "peer": "10.0.0.1" },'
    b' "asn": { "local": 1, "peer": 2 }, "state": "down", "reason": "why" } }\n'
)
PACKET = (
    b'{ "exabgp": "5.0.0", "type": "update", "neighbor": { "address": { "local": "10.0.0.2", "peer": "10.0.0.1" },'
    b' "direction": "send", "message": { "category": 2, "header": "0x'
    + b"FF" * 16
    + b'001702", "body": "0x00000000" }  } }\n'
)


def batch(number: int = 0, **more: object) -> Batch:
    prefix = IPv4Network((0x0A000000 + 256 * number, 24))
    plain = Batch(PEER, False, Route(nlri=prefix), LOCAL, (prefix,), 1, True, 65001)
    return msgspec.structs.replace(plain, **more)


def test_lines() -> None:
    nlri = (IPv4Network("10.1.0.0/24"), IPv4Network("10.2.0.0/24"))
    route = Route(nlri=nlri[0], local_pref=200, communities=((65000, 1), (65535, 65281)))
    attributes = b"attributes next-hop 10.0.0.2 origin igp local-preference 200 community [ 65000:1 65535:65281 ]"
    assert batch(route=route, prefixes=nlri).line() == (
        b"neighbor 10.0.0.1 announce " + attributes + b" nlri 10.1.0.0/24 10.2.0.0/24\n"
    )
    assert batch(route=route, prefixes=nlri, withdraw=True).line() == (
        b"neighbor 10.0.0.1 withdraw " + attributes + b" nlri 10.1.0.0/24 10.2.0.0/24\n"
    ), "a withdrawal names the attributes of the announcement, so that it cannot be overtaken by it"
    external = batch(route=route, prefixes=nlri, internal=False).line()
    assert b"local-preference" not in external


def test_every_attribute_has_its_words() -> None:
    prefix = IPv4Network("10.1.0.0/24")
    route = Route(nlri=prefix, med=0, prepend=2, large_communities=((65000, 0, 4294967295), (65000, 1, 2)))
    rest = b"med 0 large-community [ 65000:0:4294967295 65000:1:2 ] nlri 10.1.0.0/24\n"
    head = b"neighbor 10.0.0.1 announce attributes next-hop 10.0.0.2 origin igp "
    assert batch(route=route, prefixes=(prefix,), internal=False).line() == (
        head + b"as-path [ 65001 65001 65001 ] " + rest
    ), "twice in addition to the usual once"
    assert batch(route=route, prefixes=(prefix,), internal=True).line() == head + rest


def test_end_of_rib_has_its_words() -> None:
    for family in Family:
        line = f"neighbor 10.0.0.1 announce eor {family.value} unicast\n"
        assert EndOfRibCommand(PEER, family, 1).line() == line.encode()


@given(answers=st.lists(st.booleans(), max_size=60), data=st.data())
def test_answers_match_in_order_however_they_are_cut(answers: list[bool], data: st.DataObject) -> None:
    dialogue = Dialogue(now=0)
    commands = [batch(number) for number in range(len(answers))]
    stream = b""
    for command, ok in zip(commands, answers, strict=True):
        dialogue.give(command, 0)
        for event in data.draw(st.lists(st.sampled_from([STATE % b"None", PACKET, b"something else\n"]), max_size=2)):
            stream += event
        stream += b"done\n" if ok else b"error\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += dialogue.receive(stream[start:end], 1)
    answered = [event for event in events if isinstance(event, Answered)]
    assert [event.ok for event in answered] == answers
    assert all(event.command is command for event, command in zip(answered, commands, strict=True))
    assert dialogue.owed == 0
    assert len(events) - len(answered) == stream.count(b'"type"')
    assert dialogue.strange_lines == stream.count(b"something else")


@given(st.lists(st.sampled_from(["give", "ping", "end of rib", "answer"]), max_size=200))
def test_the_window_and_barriers_hold(actions: list[str]) -> None:
    dialogue = Dialogue(window=5, now=0)
    owed: list[object] = []
    commands: dict[str, Command] = {
        "give": batch(),
        "ping": Ping(),
        "end of rib": EndOfRibCommand(PEER, Family.IPV4, 1),
    }
    for action in actions:
        if action == "answer":
            if owed:
                dialogue.receive(b"done\n", 0)
                owed.pop(0)
            continue
        command = commands[action]
        barrier = action != "give"
        allowed = (
            not owed if barrier else len(owed) < 5 and not any(isinstance(c, Ping | EndOfRibCommand) for c in owed)
        )
        assert dialogue.may(command) == allowed
        if allowed:
            dialogue.give(command, 0)
            owed.append(command)
        else:
            with pytest.raises(ValueError, match="window"):
                dialogue.give(command, 0)
    assert dialogue.owed == len(owed)


def test_events() -> None:
    dialogue = Dialogue(now=0)
    assert dialogue.receive(STATE % b"None", 0) == [StateChanged(PEER, "down", "why", None)]
    assert dialogue.receive(STATE % b"10.0.0.2", 0) == [StateChanged(PEER, "down", "why", LOCAL)]
    assert dialogue.receive(PACKET, 0) == [Message(PEER, sent=True, kind=2, size=23, body=bytes(4))]
    fsm = b'{ "type": "fsm", "neighbor": { "address": { "peer": "10.0.0.1" }, "state": "OPENSENT" } }\n'
    assert dialogue.receive(fsm, 0) == [FsmChanged(PEER, "OPENSENT")]


def test_an_answer_to_no_command_ends_the_dialogue() -> None:
    with pytest.raises(TargetError, match="no command"):
        Dialogue(now=0).receive(b"done\n", 0)


def test_a_line_without_end_ends_the_dialogue() -> None:
    dialogue = Dialogue(now=0)
    dialogue.receive(b"x" * MAX_LINE_BYTES, 0)
    with pytest.raises(TargetError, match="longer than"):
        dialogue.receive(b"x", 0)


def test_a_question_stands_until_there_is_progress() -> None:
    dialogue = Dialogue(now=0)
    questions = [dialogue.question]
    dialogue.give(batch(1), 1000)
    dialogue.give(batch(2), 1005)
    questions.append(dialogue.question)
    for now in (1011, 1012):
        dialogue.receive(b"done\n", now)
        questions.append(dialogue.question)
    assert questions == [None, 1000, 1011, None]
