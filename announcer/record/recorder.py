"""Writing a recording. Bounded: a full file is kept as ``FILE.1``, and the next one begins with everything known."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from announcer.fold import Event
from announcer.model.desired import Desired
from announcer.model.observed import BgpObserved, DatapathObserved, Observed, Outcome
from announcer.model.steps import AnyStep
from announcer.plan import PlanSettings
from announcer.plan.describe import describe
from announcer.record.delta import delta
from announcer.record.line import SCHEMA, encode
from announcer.record.plain import Plainer
from announcer.snapshot import Snapshot

log = logging.getLogger(__name__)

DEFAULT_BYTES = 64 << 20


class Recorder:
    """Told of everything that goes into the core and of what comes out. Never raises: an agent works without, too."""

    def __init__(self, path: Path | None, settings: PlanSettings, *, limit: int = DEFAULT_BYTES) -> None:
        """``limit``: bytes of both files together. What stands at ``path`` moves to ``FILE.1``. None: none at all."""
        self._path = path
        self._settings = settings
        self._limit = limit // 2
        self._plainer = Plainer()
        self._file: IO[bytes] | None = None
        self._size = 0
        self._sum = ""
        self._snapshot: Any = None
        self._datapath: Any = None
        self._bgp: Any = None
        self._seen: tuple[DatapathObserved | None, BgpObserved | None] = (None, None)
        self._plan = ""
        self._failed = False

    def begin(self, snapshot: Snapshot, observed: Observed, now: float) -> None:
        """Before a round: open the file if there is none, or begin another if it is full."""
        path = self._path
        if path is None or self._failed or (self._file is not None and self._size < self._limit):
            return
        self.close()
        try:
            if path.exists():
                path.replace(path.with_name(path.name + ".1"))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb")
        except OSError as error:
            self._give_up(error)
            return
        self._size, self._sum, self._plan = 0, "", ""
        self._snapshot = self._plainer.plain(snapshot)
        self._datapath, self._bgp = self._plainer.plain(observed.datapath), self._plainer.plain(observed.bgp)
        self._seen = (observed.datapath, observed.bgp)
        known = {"snapshot": self._snapshot, "observed": self._plainer.plain(observed)}
        self._write("start", now, schema=SCHEMA, settings=self._plainer.plain(self._settings), **known)

    def decided(self, snapshot: Snapshot, desired: Desired, now: float) -> None:
        """``decide`` was asked."""
        if self._file is not None:
            plain = self._plainer.plain(snapshot)
            self._write("inputs", now, change=delta(self._snapshot, plain), decided=self._plainer.digest(desired))
            self._snapshot = plain

    def folded(self, event: Event, now: float, at: float | None = None) -> None:
        """``fold`` was asked. ``at``: when an outcome was known, if that was before ``now``."""
        if self._file is None:
            return
        match event:
            case Outcome():
                self._write("outcome", now, at=now if at is None else at, outcome=self._plainer.plain(event))
            case DatapathObserved():
                plain = self._datapath if event == self._seen[0] else self._plainer.plain(event)
                self._write("datapath", now, change=delta(self._datapath, plain))
                self._datapath, self._seen = plain, (event, self._seen[1])
            case BgpObserved():
                plain = self._bgp if event == self._seen[1] else self._plainer.plain(event)
                self._write("bgp", now, change=delta(self._bgp, plain))
                self._bgp, self._seen = plain, (self._seen[0], event)

    def planned(self, steps: Sequence[AnyStep], now: float) -> None:
        """``plan`` was asked."""
        if self._file is not None:
            self._write("plan", now, plan=self._plainer.digest(steps), steps=[describe(step) for step in steps])

    def flush(self) -> None:
        """After a round."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """End the file."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._give_up(error)

    def _write(self, kind: str, now: float, **fields: Any) -> None:
        if self._file is None:
            return
        line, self._sum = encode({"kind": kind, "t": now, **fields}, self._sum)
        try:
            self._file.write(line)
        except OSError as error:
            self._give_up(error)
        self._size += len(line)

    def _give_up(self, error: OSError) -> None:
        log.error("the recording ends: %s: %s", self._path, error.strerror)
        self._failed, self._file = True, None
