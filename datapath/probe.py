"""One frame through the attached program by BPF_PROG_TEST_RUN. Nothing is sent.

The frame carries XDP metadata that marks it as ours (``struct lb_probe``). The very program that is attached sees the
mark, neither counts the packet nor remembers a reply entry for it, and writes what it decided into the metadata. A
second program without side effects would be another program, and would prove nothing about the first.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from announcer.model.errors import TargetError
from datapath import abi, shim
from datapath.abi import PacketReason, Verdict
from datapath.packet import Template

_VERDICTS = tuple(Verdict)
_REASONS = tuple(PacketReason)
_MARK = abi.PROBE.pack(abi.PROBE_MAGIC, 0, 0, 0)


class Answer(NamedTuple):
    """What the program did. ``backend``: id, 0 for none; ``ifindex``: device it would leave by, 0 for none.

    ``raw``: all of it, the verdict in one byte, metadata and frame.
    """

    verdict: Verdict
    reason: PacketReason
    backend: int
    ifindex: int
    frame: bytes
    raw: bytes = b""


def raw(prog: int, ifindex: int, template: Template, ports: array[int]) -> bytes:
    """As :func:`run` with a frame from each of these ports, but not taken apart: one ``raw`` behind the other.

    Raises ``TargetError``.
    """
    return shim.run_xdp_from(prog, ifindex, template.frame, _MARK, template.port_at, template.sum_at, ports)


def run(prog: int, ifindex: int, frame: bytes) -> Answer:
    """As if the frame came in by this device. Raises ``TargetError``."""
    answer = verdict, meta, after = shim.run_xdp(prog, ifindex, frame, _MARK)
    magic, reason, backend, leaves_by = abi.PROBE.unpack(meta)
    if magic != abi.PROBE_MAGIC or reason >= len(_REASONS) or verdict >= len(_VERDICTS):
        raise TargetError(f"BPF_PROG_TEST_RUN ifindex {ifindex}", detail="the program gave no answer")
    return Answer(_VERDICTS[verdict], _REASONS[reason], backend, leaves_by, after, b"%c%b%b" % answer)
