"""The ports of this node from which packets go to remote backends (``bpf/lb_snat.h``).

The programs hand them out and take them back by themselves; here they are told which, and swept now and then for flows
that are over.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from announcer.model.lb import Frontend, Mode, PortRange
from datapath import abi, shim, sieve
from datapath.maps import Maps

#: Seconds between two sweeps. New flows do not wait for it: they take the port of one that is over themselves.
INTERVAL = 10.0
#: In the network namespace of whoever reads it; for both families.
_SYSCTL = Path("/proc/sys/net/ipv4")


class Snat:
    """The range of ports as the programs know it. Nothing is told them before a frontend needs it."""

    def __init__(self, maps: Maps, sweep: int, ports: PortRange, held: Iterable[Frontend]) -> None:
        """``sweep``: the program. ``held``: what an earlier agent left; its flows go on."""
        self._sieve = maps.sieve
        self._sweep = sweep
        self._ports = ports
        self._next = 0.0
        if any(map(_uses, held)):
            self._tell()
        else:
            sieve.answered_at(self._sieve, 0, 0)

    def _tell(self) -> None:
        if abi.SNAT_RANGE.unpack_from(self._sieve.bytes, abi.SNAT_RANGE_AT) != self._ports:
            sieve.answered_at(self._sieve, *self._ports)

    @property
    def used(self) -> bool:
        """True once a frontend has needed it; its flows may outlive it."""
        return abi.SNAT_RANGE.unpack_from(self._sieve.bytes, abi.SNAT_RANGE_AT) != (0, 0)

    def prepare(self, frontend: Frontend) -> None:
        """Before it is programmed: the first answer may come at once."""
        if _uses(frontend):
            self._tell()

    def tend(self, now: float) -> None:
        """Sweep if it is time. ``now``: CLOCK_MONOTONIC seconds. Raises ``TargetError``."""
        if self.used and now >= self._next:
            self._next = now + INTERVAL
            shim.run_syscall(self._sweep)

    def refusal(self, frontend: Frontend) -> str:
        """Why this node cannot serve the frontend as it stands, empty if it can.

        The kernel takes the ports of ``net.ipv4.ip_local_port_range`` for connections of the node itself, kubelet's
        probes of the very same pods among them: an answer to one of these must not be taken for ours.
        """
        if not _uses(frontend) or not any(not backend.local for backend in frontend.backends):
            return ""
        first, last = (int(word) for word in (_SYSCTL / "ip_local_port_range").read_text().split())
        taken = range(max(first, self._ports.first), min(last, self._ports.last) + 1)
        if not taken or _reserved().issuperset(taken):
            return ""
        return (
            f"SNAT ports {self._ports} and net.ipv4.ip_local_port_range ({first}-{last}) of this node overlap; choose "
            "others (--snat-ports), narrow that range, or put them into net.ipv4.ip_local_reserved_ports"
        )


def _uses(frontend: Frontend) -> bool:
    return frontend.mode is Mode.SNAT


def _reserved() -> set[int]:
    """``net.ipv4.ip_local_reserved_ports``: which ports the kernel leaves alone, though they are in its range."""
    found: set[int] = set()
    for word in (_SYSCTL / "ip_local_reserved_ports").read_text().strip().split(","):
        first, _, last = word.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found
