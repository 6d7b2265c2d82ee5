"""Every change of a host's routes, in order and with its time.

Polling would miss what matters most here: a route that was away for a moment.
"""

from __future__ import annotations

import re
from datetime import datetime
from types import TracebackType
from typing import Literal

import msgspec

from tests.lab.host import Host, Process
from tests.lab.poll import until

# Routes to these, out of a range for documentation (RFC 5737), mark the beginning and the end of what was recorded.
_MARKS = "192.0.2."
_MARK = "192.0.2.{}/32"

_MONITOR = "stdbuf -oL ip -ts -o -4 monitor route"
_LINE = re.compile(r"^\[(\S+)\] (Deleted )?(?:(?:unreachable|blackhole) )?([\d./]+|default) (.*)$", re.MULTILINE)


class RouteChange(msgspec.Struct, frozen=True):
    """One message of the kernel. ``next_hops`` is empty for a deletion that does not repeat them."""

    time: datetime
    action: Literal["set", "deleted"]
    prefix: str
    next_hops: frozenset[str]


class RouteJournal:
    """``with RouteJournal(lab.router) as journal:`` records; :meth:`changes` tells what happened so far."""

    def __init__(self, host: Host) -> None:
        """Nothing is recorded before the context is entered."""
        self._host = host
        self._file = host.folder / "routes.journal"
        self._marks = 0
        self._process: Process | None = None

    def __enter__(self) -> RouteJournal:
        """Start; every change after this is recorded."""
        with open(self._file, "wb") as file:
            self._process = self._host.popen(_MONITOR.split(), stdout=file)
        until(self._sees_a_mark, "the first record of the route journal")
        return self

    def changes(self, prefix: str | None = None) -> list[RouteChange]:
        """Return all changes until now, or those of one prefix; what happened before this call is in it."""
        until(self._sees_a_mark, "the latest record of the route journal")
        found = parse(self._file.read_text())
        if prefix:
            return [change for change in found if change.prefix == prefix]
        return [change for change in found if not change.prefix.startswith(_MARKS)]

    def deleted(self, prefix: str | None = None) -> list[RouteChange]:
        """Return the deletions among :meth:`changes`."""
        return [change for change in self.changes(prefix) if change.action == "deleted"]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop recording."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def _sees_a_mark(self) -> bool:
        """Change a route of our own and look for it; the kernel keeps the order, so all before it has been recorded."""
        self._marks += 1
        mark = _MARK.format(self._marks % 256)
        self._host.run(["ip", "route", "replace", "blackhole", mark])
        self._host.run(["ip", "route", "del", "blackhole", mark])
        return any(change.prefix == mark for change in parse(self._file.read_text()))


def parse(text: str) -> list[RouteChange]:
    """Read the output of ``ip -ts -o -4 monitor route``; changes of the local and other tables are left out."""
    lines = _LINE.findall(text)
    return [
        RouteChange(
            datetime.fromisoformat(time),
            "deleted" if deleted else "set",
            _prefix(destination),
            frozenset(re.findall(r"via ([\d.]+)", rest)),
        )
        for time, deleted, destination, rest in lines
        if " table " not in f" {rest} "
    ]


def _prefix(destination: str) -> str:
    if destination == "default":
        return "0.0.0.0/0"
    return destination if "/" in destination else f"{destination}/32"
