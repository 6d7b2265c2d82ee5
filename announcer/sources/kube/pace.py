"""When the next look at a resource begins, after one that ended well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from announcer.sources.kube.patience import Timing


class WatchPace:
    """A watch that ended in an orderly way goes on after a moment."""

    def __init__(self, timing: Timing, sleep: Callable[[float], Awaitable[None]]) -> None:
        """``sleep`` is that of the running loop."""
        self._timing = timing
        self._sleep = sleep

    async def rest(self) -> None:
        """Until it is time."""
        await self._sleep(random.uniform(*self._timing.pause))


class PollPace:
    """A resource that is polled: every few minutes, or every few seconds while somebody wants that."""

    def __init__(self, timing: Timing, sleep: Callable[[float], Awaitable[None]]) -> None:
        """``sleep`` is that of the running loop."""
        self._timing = timing
        self._sleep = sleep
        self._closely = asyncio.Event()
        self._again = asyncio.Event()
        self._close_pause = timing.close_pause(0)
        self._spread = timing.spread(0)
        self._completed: float | None = None

    def complete(self, now: float, objects: int) -> None:
        """A look was complete at ``now``, with so many objects."""
        self._completed = now
        self._close_pause = self._timing.close_pause(objects)
        self._spread = self._timing.spread(objects)

    def look_closely(self, wanted: bool, now: float) -> bool:
        """Look often while ``wanted``. True if the last complete look is fresh enough."""
        if not wanted:
            self._closely.clear()
            return False
        if not self._closely.is_set():
            self._completed = None  # only a look that begins from now on counts
            self._closely.set()
        return self._completed is not None and now - self._completed < 3 * self._close_pause

    def look_again(self) -> None:
        """End the rest soon; one look follows, or another one if there is one now."""
        self._again.set()

    async def rest(self) -> None:
        """Until it is time, or until somebody wants a look before, or closer ones than until now."""
        if self._closely.is_set():
            await self._sleep(self._close_pause)
        else:
            await self._rest_long()
            if self._again.is_set():
                await self._sleep(random.uniform(0.0, self._spread))
        self._again.clear()

    async def _rest_long(self) -> None:
        ends = [
            asyncio.ensure_future(self._sleep(random.uniform(0.8, 1.2) * self._timing.poll)),
            asyncio.ensure_future(self._closely.wait()),
            asyncio.ensure_future(self._again.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
