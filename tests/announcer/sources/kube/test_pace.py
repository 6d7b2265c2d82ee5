"""When a resource that is polled is looked at next."""

from __future__ import annotations

import asyncio

from announcer.sources.kube.pace import PollPace
from announcer.sources.kube.patience import Timing

NODES = 1000


def pauses(nodes: int) -> list[float]:
    """What one rest of the agent of so many nodes sleeps when somebody wants a look before its time."""
    slept: list[float] = []

    async def rest() -> None:
        asleep = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            asleep.set()
            if len(slept) == 1:
                await asyncio.Event().wait()

        pace = PollPace(Timing(), sleep)
        pace.complete(0.0, nodes)
        resting = asyncio.ensure_future(pace.rest())
        await asleep.wait()
        pace.look_again()
        await resting

    asyncio.run(rest())
    return slept


def test_a_look_that_all_agents_are_brought_to_is_spread_over_time() -> None:
    waits = []
    for _ in range(50):
        poll, wait = pauses(NODES)
        assert poll > 400.0
        waits.append(wait)
    assert 0.0 <= min(waits) < NODES / 40 < max(waits) <= NODES / 20, "50 of them at random"


def test_in_a_small_cluster_it_follows_at_once() -> None:
    _, wait = pauses(3)
    assert wait <= 0.15
