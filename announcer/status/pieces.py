"""Long answers, worked out bit by bit: what the agent is there for must not wait for a question about it.

The agent has one loop. With 10,000 VIPs a whole status takes half a second, and for so long no backend that failed
would be taken out. So whatever goes over all VIPs is a generator that stops now and then, and between two of its stops
the loop does what is due. All of it sees one moment, since what it looks at is a value.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")
R = TypeVar("R")

#: Something that is being worked out: what it yields means nothing, what it returns is the result.
Work: TypeAlias = Generator[None, None, R]

#: For how long the loop is kept, in seconds, give or take a stop.
_AT_ONCE = 0.005
#: How many items between two stops.
_ITEMS = 32


def at_once(work: Work[R]) -> R:
    """The result, without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


async def bit_by_bit(work: Work[R], clock: Callable[[], float] = time.perf_counter) -> R:
    """The result, with the loop let go on every few milliseconds."""
    began = clock()
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if clock() - began >= _AT_ONCE:
            await asyncio.sleep(0)
            began = clock()


def each(items: Iterable[T], make: Callable[[T], R]) -> Work[list[R]]:
    """``make`` of every item."""
    found: list[R] = []
    for item in items:
        found.append(make(item))
        if not len(found) % _ITEMS:
            yield
    return found


def one_by_one(works: Iterable[Work[R]]) -> Work[list[R]]:
    """What each of ``works`` makes."""
    found: list[R] = []
    for work in works:
        found += ((yield from work),)
    return found


def encoded(value: Any) -> Work[Any]:
    """``value`` (dicts, lists, words and numbers), the items of its long lists as JSON already."""
    if isinstance(value, dict):
        found = {}
        for key, below in value.items():
            found[key] = yield from encoded(below)
        return found
    if not isinstance(value, list):
        return value
    if len(value) >= _ITEMS:
        return (yield from each(value, lambda item: msgspec.Raw(msgspec.json.encode(item))))
    return (yield from one_by_one(map(encoded, value)))
