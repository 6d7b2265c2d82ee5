"""The folder source: Kubernetes manifests in a folder, followed live.

::

    directories ── Watch ──┐ (stirred, settled)
                           ├──> scan ── changed files ──> fold ──> merge ──> Replace, if anything differs
    every few seconds ─────┘ (network file systems, lost events)

What is read is decided by looking, never by what an event says; events only say when to look.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from announcer.model.errors import ConfigProblem
from announcer.model.objects import ObjectKey
from announcer.sources.events import Replace
from announcer.sources.fold import FileState, Unreadable, fold, merge
from announcer.sources.scan import Listing, Stamp, list_folder, read_content, settled
from announcer.sources.watch import Watch

#: A folder that is gone, or cannot be watched, is looked at this often, in seconds.
_IMPATIENT = 0.5

#: To list a folder of many files takes long, so without an event it is done more rarely: a thousandth of the time goes
#: into it, but the next time is never later than so many seconds.
_COST_FACTOR = 1000.0
_LATEST = 30.0

#: Something in the folder may change all the time; after so many looks, what was seen last counts.
_TRIES = 3


class FolderSource:
    """Delivers the objects of all ``*.yaml``, ``*.yml`` and ``*.json`` files below a folder, and their changes."""

    def __init__(self, path: Path, *, poll: float = 5.0, settle: float = 0.01, patience: float = 1.0) -> None:
        """``poll``: seconds between looks without an event; ``settle``, ``patience``: see ``Watch``."""
        self._root = Path(path)
        self._poll = poll
        self._settle = settle
        self._patience = patience
        self._files: Mapping[str, FileState] = {}
        self._said: tuple[Mapping[str, FileState], tuple[ConfigProblem, ...], bool] | None = None
        self._event = Replace()
        self._stamps: dict[str, Stamp] = {}
        self._watch: Watch | None = None
        self._watched: dict[Path, tuple[int, int]] = {}
        self._readable = False
        self._cost = 0.0
        self._looked = time.monotonic()
        self._watch_problem: tuple[ConfigProblem, ...] = ()

    @property
    def stale_seconds(self) -> float:
        """Since when the folder cannot be read, in seconds; 0 while it can. One that is quiet is not stale."""
        return 0.0 if self._readable else time.monotonic() - self._looked

    def name_secrets(self, keys: Iterable[ObjectKey]) -> None:
        """Nothing to do: a folder brings all Secrets that are in it."""

    def look_closely(self, wanted: bool) -> bool:
        """A folder is always fresh."""
        return True

    def look_again(self) -> None:
        """Nothing to do: a folder brings all nodes that are in it."""

    async def events(self) -> AsyncIterator[Replace]:
        """The present state at once, then a new one each time that it differs. Ends only when it is cancelled."""
        last: Replace | None = None
        try:
            while True:
                event = await self._look_undisturbed()
                if event.synced or self._readable:
                    self._looked = time.monotonic()
                self._readable = event.synced
                if event is not last:
                    last = event
                    yield event
                await self._rest()
        finally:
            self._unwatch()

    async def _look_undisturbed(self) -> Replace:
        """A look during which nothing was written: otherwise it may have found half of it. Tried a few times."""
        event = await self._look()
        for _ in range(_TRIES):
            if self._watch is None or not self._watch.stirred:
                break
            await self._watch.wait(self._settle)
            event = await self._look()
        return event

    async def _look(self) -> Replace:
        """One complete look. Directories are watched before their files are read, so nothing is missed."""
        listing = await asyncio.to_thread(self._list)
        while listing.directories != self._watched and not listing.problem:
            self._rewatch(listing)
            listing = await asyncio.to_thread(self._list)
        if listing.problem:
            self._unwatch()
            hint = "the last state of the folder stays in force" if self._files else "nothing is announced before"
            problem = ConfigProblem(file=str(self._root), problem=f"cannot be read: {listing.problem}", hint=hint)
            return self._say((problem,), synced=False)
        # One that was too young for a stamp when it was read may have gone since.
        if listing.files != self._stamps or listing.files.keys() != self._files.keys():
            await asyncio.to_thread(self._read, listing)
        return self._say(self._watch_problem)

    def _say(self, problems: tuple[ConfigProblem, ...], *, synced: bool = True) -> Replace:
        """What there is to tell now: the very event of last time if that is the same."""
        said = (self._files, problems, synced)
        if self._said is None or said[0] is not self._said[0] or said[1:] != self._said[1:]:
            event = merge(self._files, problems=problems, synced=synced)
            self._event = self._event if event == self._event else event
            self._said = said
        return self._event

    async def _rest(self) -> None:
        """Until it is time for another look. Without an event it is for what inotify does not tell, and may be late."""
        if self._watch is not None:
            await self._watch.wait(max(self._poll, min(_COST_FACTOR * self._cost, _LATEST)))
        else:
            await asyncio.sleep(min(self._poll, _IMPATIENT))

    def _list(self) -> Listing:
        began = time.thread_time()
        listing = list_folder(self._root)
        self._cost = time.thread_time() - began
        return listing

    def _read(self, listing: Listing) -> None:
        """Read the files that changed since the last look, and fold them in."""
        now = time.time_ns()
        stamps = {name: stamp for name, stamp in listing.files.items() if stamp is not None and settled(stamp, now)}
        changed: dict[str, bytes | Unreadable] = {}
        for name in listing.files:
            if name in stamps and stamps[name] == self._stamps.get(name):
                continue
            changed[name] = read_content(Path(name))
        present = {name for name in listing.files if name not in changed or os.path.lexists(name)}
        self._files = fold(self._files, changed, present)
        self._stamps = stamps

    def _rewatch(self, listing: Listing) -> None:
        self._unwatch()
        self._watched = listing.directories
        self._watch_problem = ()
        try:
            self._watch = Watch(listing.directories, settle=self._settle, patience=self._patience)
        except (FileNotFoundError, NotADirectoryError):
            self._watched = {}  # it changed again; the next look finds out
        except OSError as error:
            problem = f"cannot be watched: {error.strerror}; it is looked at every {_IMPATIENT} s instead"
            hint = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl)"
            self._watch_problem = (ConfigProblem(file=str(self._root), problem=problem, hint=hint),)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch = None
        self._watched = {}
