"""A real router of the lab, and what it holds, in one shape for BIRD and FRR."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from tests.lab.host import Host, Process
from tests.lab.plan import Plan
from tests.lab.poll import LabError, until

START_SECONDS = 30.0

Rib = Mapping[str, tuple["RibPath", ...]]


class RibPath(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a prefix that a neighbor announced, with its path attributes (RFC 4271 section 5, RFC 1997, RFC 8092).

    ``peer`` is the neighbor's address. An attribute that is not there is None or empty. ``communities`` are written
    ``64512:100`` or by their well-known name in small letters (``graceful-shutdown``), ``large_communities`` ``1:2:3``.
    """

    peer: str
    next_hop: str
    as_path: tuple[int, ...] = ()
    local_pref: int | None = None
    med: int | None = None
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    origin: str = "igp"


class Router(Host, abc.ABC):
    """The lab's router: a host whose BGP speaker listens on port 179 and accepts sessions from every node."""

    plan: Plan
    _daemons: list[Process]

    def configure(self, plan: Plan) -> None:
        """Take the plan and write the configuration into the host's folder."""
        self.plan = plan
        self._daemons = []
        self._write_configuration()

    def start(self) -> None:
        """Start the speaker and wait until it answers; raise LabError with the end of its log when it does not."""
        self._daemons = self._start_daemons()
        try:
            until(self._answers, f"an answer of {type(self).__name__}", START_SECONDS)
            until(self._listens, f"{type(self).__name__} listening for neighbors", START_SECONDS)
            # FRR refuses whoever comes while a session is still Idle, and a refused speaker comes back much later.
            until(
                lambda: "Idle" not in self.sessions().values(), "sessions that wait for their neighbors", START_SECONDS
            )
        except LabError as late:
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log")))
            raise LabError(f"{late}\n{logs}") from None

    def stop(self) -> None:
        """Kill the speaker, as a crash would; the neighbors see their connections end."""
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()
        self._daemons = []

    def fib(self) -> dict[str, frozenset[str]]:
        """Return the kernel's routes that go through a next hop: prefix to the set of next hops."""
        found: dict[str, frozenset[str]] = {}
        for family in ("-4", "-6"):
            routes = json.loads(self.run(["ip", family, "-j", "route", "show", "table", "main"]).stdout)
            found |= {_prefix(route["dst"], family): hops for route in routes if (hops := _next_hops(route))}
        return found

    def _listens(self) -> bool:
        return "LISTEN" in self.run(["ss", "-Htln", "sport", "=", ":179"]).stdout

    @abc.abstractmethod
    def rib(self) -> Rib:
        """Return what the neighbors announced: prefix to its paths, ordered by peer."""

    @abc.abstractmethod
    def sessions(self) -> dict[str, str]:
        """Return the state of each configured session (RFC 4271 section 8.2.2, ``Established``) by neighbor address."""

    @abc.abstractmethod
    def _write_configuration(self) -> None: ...

    @abc.abstractmethod
    def _start_daemons(self) -> list[Process]: ...

    @abc.abstractmethod
    def _answers(self) -> bool: ...


def _prefix(destination: str, family: str) -> str:
    """Write a prefix in full; iproute2 leaves out the length of one address and calls 0.0.0.0/0 ``default``."""
    if destination == "default":
        return "0.0.0.0/0" if family == "-4" else "::/0"
    return destination if "/" in destination else f"{destination}/{32 if family == '-4' else 128}"


def _next_hops(route: dict[str, Any]) -> frozenset[str]:
    hops = route.get("nexthops", [route])
    return frozenset(hop.get("gateway") or hop["via"]["host"] for hop in hops if "gateway" in hop or "via" in hop)


def ordered(rib: Mapping[str, list[RibPath]]) -> Rib:
    """Return the table with the paths of each prefix ordered, so that equal tables compare equal."""
    return {prefix: tuple(sorted(paths, key=lambda path: path.peer)) for prefix, paths in sorted(rib.items())}
