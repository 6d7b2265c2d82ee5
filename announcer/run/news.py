"""That something has changed, for tasks that would otherwise have to look every so often."""

from __future__ import annotations

import asyncio
import contextlib


class News:
    """Tells any number of tasks, none of which misses what is told while it does something else."""

    def __init__(self) -> None:
        """Nothing told yet."""
        self.count = 0
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, count: int, seconds: float | None = None) -> None:
        """Wait until more is told than ``count``, at most for ``seconds``; None: for as long as it takes."""
        if self.count == count:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._next.wait()
