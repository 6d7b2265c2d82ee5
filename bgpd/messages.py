"""What crosses ``speaker.sock``: one JSON object per line, in both directions.

An agent asks (``Hello``, ``Observe``, ``Apply``), each with a number, and is answered with the same number. Who says
what he has seen already is told only what is new (``bgpd.publication``). Agent and speaker may be of different
releases: a field that one does not know he ignores, and one that is not there says nothing.
``Changed`` comes by itself whenever another ``Observe`` would give another answer; several changes may be told in
one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from announcer.model.bgp import PeerObserved, RibEntry
from announcer.model.codec import from_json, to_json
from announcer.model.net import IPNetwork
from announcer.model.observed import BgpObserved, Outcome, OutcomeState
from announcer.model.steps import AnyStep

#: 100,000 steps are some 20 MB.
MAX_LINE_BYTES = 64 << 20


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Are you there?"""

    id: int


class Seen(msgspec.Struct, frozen=True):
    """What a reader has: everything up to ``number`` of the speaker process that calls itself ``speaker``."""

    speaker: str
    number: int


class Observe(msgspec.Struct, frozen=True, tag="observe"):
    """How is everything, or what is new ``since``?"""

    id: int
    since: Seen | None = None


class Apply(msgspec.Struct, frozen=True, tag="apply"):
    """Carry out ``steps`` in order. ``brief``: they need not be said again in the answer, and what was done neither."""

    id: int
    steps: list[AnyStep]
    brief: bool = False


class Greeting(msgspec.Struct, frozen=True, tag="greeting"):
    """Answers ``Hello``."""

    id: int
    pid: int


class Observed(msgspec.Struct, frozen=True, tag="observed"):
    """Answers ``Observe``: everything. Who has taken it in has ``seen``, None if the speaker cannot say what is new."""

    id: int
    observed: BgpObserved
    seen: Seen | None = None


class PeerNews(msgspec.Struct, frozen=True):
    """What is new of one peer. ``outline``: all but ``rib``, None if nothing of that is.

    ``whole``: forget the entries that there were. ``rib``: those that are new or another, ``gone``: those that are not
    there any more.
    """

    outline: PeerObserved | None = None
    whole: bool = False
    rib: dict[IPNetwork, RibEntry] = {}
    gone: list[IPNetwork] = []


class News(msgspec.Struct, frozen=True, tag="news", omit_defaults=True):
    """Answers ``Observe``: what is new since. Who has taken it in has ``seen``.

    ``outline``: all but ``peers``, ``names``: of all peers; each None if nothing of it is new.
    """

    id: int
    seen: Seen
    outline: BgpObserved | None = None
    names: list[str] | None = None
    peers: dict[str, PeerNews] = {}


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """Answers ``Apply``: one outcome for each step, in the same order."""

    id: int
    outcomes: list[Outcome]


class Result(msgspec.Struct, frozen=True):
    """An outcome without its step."""

    state: OutcomeState
    problem: str = ""
    retry: bool = True

    @classmethod
    def of(cls, outcome: Outcome) -> Result:
        """Of what the speaker found."""
        return cls(outcome.state, outcome.problem, outcome.retry)

    def of_step(self, step: AnyStep) -> Outcome:
        """The outcome of ``step``."""
        return Outcome(step=step, state=self.state, problem=self.problem, retry=self.retry)


DONE = Result(OutcomeState.DONE)


class Results(msgspec.Struct, frozen=True, tag="results"):
    """Answers a brief ``Apply``: what came of steps that were not simply done, by their place among the steps."""

    id: int
    others: dict[int, Result]

    @classmethod
    def of(cls, number: int, outcomes: Sequence[Outcome]) -> Results:
        """Of all outcomes, in the order of the steps."""
        results = ((at, Result.of(outcome)) for at, outcome in enumerate(outcomes))
        return cls(number, {at: result for at, result in results if result != DONE})

    def outcomes(self, steps: Sequence[AnyStep]) -> list[Outcome]:
        """Of ``steps``, which were asked for."""
        return [self.others.get(at, DONE).of_step(step) for at, step in enumerate(steps)]


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Something changed."""


Request = Hello | Observe | Apply
Reply = Greeting | Observed | News | Applied | Results | Changed


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
