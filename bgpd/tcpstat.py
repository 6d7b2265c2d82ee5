"""What the kernel counted of dropped TCP segments, in this network namespace.

Names and meaning: Linux, ``Documentation/networking/snmp_counter.rst`` and ``include/uapi/linux/snmp.h``.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from announcer.model.errors import TargetError

_NETSTAT = Path("/proc/self/net/netstat")


class Drops(msgspec.Struct, frozen=True):
    """Segments that were dropped: without a signature where one is due, with one where none is, with a wrong one, and
    those whose TTL was below what the socket takes."""

    unsigned: int = 0
    signed: int = 0
    mismatched: int = 0
    low_ttl: int = 0

    def since(self, before: Drops) -> Drops:
        """The difference."""
        return Drops(*(now - then for now, then in zip(_values(self), _values(before), strict=True)))


def _values(drops: Drops) -> tuple[int, int, int, int]:
    return drops.unsigned, drops.signed, drops.mismatched, drops.low_ttl


def read_drops() -> Drops:
    """The counters now. Raises TargetError if the kernel does not say."""
    try:
        return parse_drops(_NETSTAT.read_text())
    except OSError as error:
        raise TargetError(f"read {_NETSTAT}", errno=error.errno or 0) from error


def parse_drops(text: str) -> Drops:
    """Read ``/proc/net/netstat``: for every group a line of names and a line of numbers. What is not there is 0."""
    lines = [line.split() for line in text.splitlines()]
    counters: dict[str, int] = {}
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        if names[:1] == ["TcpExt:"]:
            counters = {name: int(number) for name, number in zip(names[1:], numbers[1:], strict=False)}
    return Drops(
        unsigned=counters.get("TCPMD5NotFound", 0),
        signed=counters.get("TCPMD5Unexpected", 0),
        mismatched=counters.get("TCPMD5Failure", 0),
        low_ttl=counters.get("TCPMinTTLDrop", 0),
    )
