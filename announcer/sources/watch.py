"""Waiting for changes below some directories, by inotify.

An event alone is not a reason to read: a program that rewrites a file in place truncates it first, and whoever reads
then sees half a file. So a wait ends when all is quiet for a moment and every file that was written to was closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from asyncinotify import Event, Inotify, Mask

from announcer.sources.scan import is_manifest

_MASK = (
    Mask.MODIFY
    | Mask.ATTRIB
    | Mask.CLOSE_WRITE
    | Mask.CREATE
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)


class Watch:
    """Watches some directories (not what is below them) from construction until ``close``, inside a running loop.

    Raises ``OSError`` if the kernel refuses (limits ``fs.inotify.max_user_instances`` and ``max_user_watches``).
    """

    def __init__(self, directories: Iterable[Path], *, settle: float, patience: float) -> None:
        """``settle``: seconds of quiet that end a wait; ``patience``: at most so long for a file to be closed."""
        self._settle = settle
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._stirred = asyncio.Event()
        self._writing: set[Path | None] = set()
        self._inotify = Inotify(sync_timeout=0)
        try:
            for directory in directories:
                self._inotify.add_watch(directory, _MASK)
        except OSError:
            self._inotify.close()
            raise
        self._loop.add_reader(self._inotify.fd, self._drain)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._inotify.fd)
        self._inotify.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stirred(self) -> bool:
        """True if something happened since the last wait ended."""
        self._drain()
        return self._stirred.is_set()

    async def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for something to happen, then for it to settle. True if something happened."""
        if not await self._stirs(seconds):
            return False
        deadline = self._loop.time() + self._patience
        while (rest := deadline - self._loop.time()) > 0:
            self._stirred.clear()
            again = await self._stirs(min(self._settle, rest))
            if not again and not self._writing:
                break
        self._stirred.clear()
        self._writing.clear()
        return True

    async def _stirs(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stirred.wait()
        except TimeoutError:
            return False

    def _drain(self) -> None:
        while (event := self._inotify.sync_get()) is not None:
            self._take(event)

    def _take(self, event: Event) -> None:
        self._stirred.set()
        # An editor may keep other files open for as long as it runs (a swap file); nobody waits for those.
        if event.name is None or not is_manifest(event.name.name):
            return
        if Mask.MODIFY in event.mask:
            self._writing.add(event.path)
        elif event.mask & (Mask.CLOSE_WRITE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO):
            self._writing.discard(event.path)
