"""BPF_PROG_TEST_RUN many times in one call, and the processor time it took (Documentation/bpf/bpf_prog_run.rst)."""

from __future__ import annotations

import ctypes
import os
import time
from typing import NamedTuple

_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_PROG_TEST_RUN = 10
_ROOM = 512
_LIVE_FRAMES = 1 << 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Attr(ctypes.Structure):
    """``union bpf_attr``, member ``test``."""

    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class _XdpMd(ctypes.Structure):
    """``struct xdp_md``."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in ("data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex")
    )


class Run(NamedTuple):
    """``nanoseconds`` of processor time per packet; verdict and frame of the last packet."""

    nanoseconds: float
    verdict: int
    frame: bytes


def run(prog: int, ifindex: int, frame: bytes, repeat: int) -> Run:
    """Send ``frame`` through the program ``repeat`` times, as if it came in by the device. Raises ``OSError``.

    The time is the calling thread's (CLOCK_THREAD_CPUTIME_ID): what others do on the machine costs caches, not time.
    The kernel's own ``duration`` is rounded to whole nanoseconds and counts the time of others.
    """
    data = ctypes.create_string_buffer(frame, len(frame))
    out = ctypes.create_string_buffer(_ROOM)
    context = _XdpMd(data_end=len(frame), ingress_ifindex=ifindex)
    attr = _Attr(
        prog_fd=prog,
        data_size_in=len(frame),
        data_size_out=_ROOM,
        data_in=ctypes.addressof(data),
        data_out=ctypes.addressof(out),
        repeat=repeat,
        ctx_size_in=ctypes.sizeof(context),
        ctx_in=ctypes.addressof(context),
    )
    before = time.thread_time_ns()
    failed = _libc.syscall(_BPF, _PROG_TEST_RUN, ctypes.byref(attr), ctypes.sizeof(attr))
    spent = time.thread_time_ns() - before
    if failed:
        raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN")
    return Run(spent / repeat, attr.retval, out.raw[: attr.data_size_out])


def send(prog: int, ifindex: int, frame: bytes, packets: int) -> None:
    """Let ``packets`` frames come in by the device, for real: what the program redirects is sent. Raises ``OSError``.

    The frames are used again and again without being restored (BPF_F_TEST_XDP_LIVE_FRAMES).
    """
    data = ctypes.create_string_buffer(frame, len(frame))
    context = _XdpMd(data_end=len(frame), ingress_ifindex=ifindex)
    attr = _Attr(
        prog_fd=prog,
        data_size_in=len(frame),
        data_in=ctypes.addressof(data),
        repeat=packets,
        ctx_size_in=ctypes.sizeof(context),
        ctx_in=ctypes.addressof(context),
        flags=_LIVE_FRAMES,
    )
    if _libc.syscall(_BPF, _PROG_TEST_RUN, ctypes.byref(attr), ctypes.sizeof(attr)):
        raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN (live frames)")
