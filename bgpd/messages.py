"""What crosses ``speaker.sock``: one JSON object per line, in both directions.

An agent asks (``Hello``, ``Observe``, ``Apply``), each with a number, and is answered with the same number.
``Changed`` comes by itself whenever another ``Observe`` would give another answer; several changes may be told in
one.
"""

from __future__ import annotations

import msgspec

from announcer.model.codec import from_json, to_json
from announcer.model.observed import BgpObserved, Outcome
from announcer.model.steps import AnyStep

#: 100,000 steps are some 20 MB.
MAX_LINE_BYTES = 64 << 20


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Are you there?"""

    id: int


class Observe(msgspec.Struct, frozen=True, tag="observe"):
    """How is everything?"""

    id: int


class Apply(msgspec.Struct, frozen=True, tag="apply"):
    """Carry out ``steps`` in order."""

    id: int
    steps: list[AnyStep]


class Greeting(msgspec.Struct, frozen=True, tag="greeting"):
    """Answers ``Hello``."""

    id: int
    pid: int


class Observed(msgspec.Struct, frozen=True, tag="observed"):
    """Answers ``Observe``."""

    id: int
    observed: BgpObserved


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """Answers ``Apply``: one outcome for each step, in the same order."""

    id: int
    outcomes: list[Outcome]


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Something changed."""


Request = Hello | Observe | Apply
Reply = Greeting | Observed | Applied | Changed


class _RequestLine(msgspec.Struct):
    request: Request


class _ReplyLine(msgspec.Struct):
    reply: Reply


def request_line(request: Request) -> bytes:
    """One line."""
    return to_json(_RequestLine(request)) + b"\n"


def reply_line(reply: Reply) -> bytes:
    """One line."""
    return to_json(_ReplyLine(reply)) + b"\n"


def parse_request(line: bytes) -> Request:
    """Raises ``msgspec.ValidationError`` or ``msgspec.DecodeError`` if it is none."""
    return from_json(line, _RequestLine).request


def parse_reply(line: bytes) -> Reply:
    """Raises ``msgspec.ValidationError`` or ``msgspec.DecodeError`` if it is none."""
    return from_json(line, _ReplyLine).reply
