"""``with Oracle(lab, VIP):`` has the promise watched from outside while a fault is injected.

The work is done by ``oracle.py``, a process of its own that shares no line with the product. Which of the invariants it
can see, and how:

==== =================================================================================================
I1   a datagram that is sent while the router has a route to the VIP is answered
I4   a flow that keeps its port is answered by the same server, as long as that one serves
I5   there is a route at every look (asked for by ``always_routed``)
I6   no BGP session ends or begins (asked for by ``same_sessions``)
I8   nothing is withdrawn before a new agent knows everything: I1 and I5 during restarts
I9   the router learns prefixes of the pools and Pod CIDRs only
I12  no file of the lab, but the configurations, holds the canary (asked for by ``canary``)
==== =================================================================================================

The others need an inside view and are held elsewhere: I2 and I7 by ``tests/announcer/test_promise.py``, I3 by the
figures, I10 by every test that waits for the status, I11 by ``tests/e2e/test_record.py``, I13 by ``tests/datapath``.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import msgspec

from tests.lab import Lab
from tests.lab.companion import Companion

_PROGRAM = Path(__file__).with_name("oracle.py")
#: Where a password has to stand: the router's and the nodes' own configurations. Pins cannot be read.
_CONFIGURATIONS = frozenset({"manifests", "router", "bpffs", "exabgp.conf", "last-good-config.json"})
_ALLOWED = ("203.0.113.0/24", "10.244.0.0/16", "2001:db8:f::/64", "2001:db8:244::/48")


class OracleSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What it saw; see ``Seen`` in ``oracle.py``."""

    looks: int
    sent: int
    answered: int
    lost: list[dict[str, object]]
    moved: list[dict[str, object]]
    foreign: list[str]
    without_route: int
    first_without_route: float | None
    routes: list[dict[str, object]]
    session_changes: int


class PromiseBroken(AssertionError):
    """What of the promise did not hold, one line each."""


class Oracle(Companion[OracleSeen]):
    """Watches from entering the context to its end, or to :meth:`stop`; then the invariants must have held."""

    def __init__(
        self,
        lab: Lab,
        *vips: str,
        port: int = 53,
        always_routed: bool = False,
        same_sessions: bool = False,
        same_servers: bool = True,
        canary: str = "",
    ) -> None:
        """``port``: of a UDP service of the lab's pods. ``same_servers`` False: servers come and go on purpose."""
        self._lab = lab
        options = [*(f"--vip={vip}" for vip in vips), f"--port={port}", *(f"--allowed={net}" for net in _ALLOWED)]
        super().__init__(lab.router, [sys.executable, "-I", "-S", _PROGRAM, *options], "looking", OracleSeen)
        self._always_routed = always_routed
        self._same_sessions = same_sessions
        self._same_servers = same_servers
        self._canary = canary

    def stop(self) -> OracleSeen:
        """End, and say what was seen, whether or not the invariants held."""
        seen = super().stop()
        self._process = None
        return seen

    def broken(self, seen: OracleSeen) -> list[str]:
        """What did not hold, in words that begin with the number of the invariant."""
        found = []
        if seen.lost:
            found.append(f"I1: {len(seen.lost)} of {seen.sent} datagrams were lost, the first: {seen.lost[0]}")
        if seen.moved and self._same_servers:
            found.append(f"I4: {len(seen.moved)} flows moved, the first: {seen.moved[0]}")
        if seen.without_route and self._always_routed:
            found.append(f"I5: no route at {seen.without_route} of {seen.looks} looks")
        if seen.session_changes and self._same_sessions:
            found.append(f"I6: sessions changed {seen.session_changes} times")
        if seen.foreign:
            found.append(f"I9: the router learned {', '.join(seen.foreign)}")
        return found + [f"I12: the canary stands in {path}" for path in self._leaks()]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Judge, unless the test has failed already or has stopped the oracle itself."""
        if self._process is None:
            return
        seen = self.stop()
        if kind is None and (found := self.broken(seen)):
            raise PromiseBroken("\n".join(found))

    def _leaks(self) -> list[str]:
        if not self._canary:
            return []
        found = (path for path in self._lab.folder.rglob("*") if path.is_file())
        files = [path for path in found if not _CONFIGURATIONS.intersection(path.relative_to(self._lab.folder).parts)]
        return [str(path) for path in files if holds(path.read_bytes(), self._canary)]


def holds(data: bytes, canary: str) -> bool:
    """True if ``canary`` stands in ``data`` as it is or in base64, wherever it begins."""
    return any(form in data for form in _forms(canary.encode()))


def _forms(canary: bytes) -> Iterable[bytes]:
    yield canary
    for before in range(3):
        # What is left of the text in base64 once the characters are cut off that its neighbors have a part in.
        whole = base64.b64encode(b"." * before + canary).rstrip(b"=")
        yield whole[(0, 2, 3)[before] : -1]
