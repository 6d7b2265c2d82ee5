"""What forwarding takes of the node's own core.

The node has a CPU to itself; who sends and counts has another. What a device takes in, its NAPI takes from a queue;
that is a thread here (Documentation/networking/napi.rst, "Threaded NAPI"), and all that the node does with a packet
happens in it, until the packet is in the queue of the other end. So the time that this thread ran, shared among the
packets that came back, is what the node's core spends on one, however long sending and counting take.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from datapath import shim
from tests.bench.way import Way
from tests.datapath.netns import run
from tests.datapath.node import DEADLINE, eventually

#: The queue of a veth holds 256 frames: so many may be on their way at most, and none is lost for want of room.
WINDOW = 128
#: How often the program that sends is run; it sends if there is room.
TURNS = 1_000_000
_LIMIT = struct.Struct("=QQIIQ")  # struct window of traffic.bpf.c


class OwnCore:
    """One way of forwarding whose node works in a thread."""

    def __init__(self, way: Way, node_cpu: int, other_cpu: int) -> None:
        """From now on the way's two devices are polled by threads, each on its CPU."""
        self._way = way
        self._other_cpu = other_cpu
        self._node = _thread(way.node.netns, "eth0", node_cpu)
        _thread(way.node.router, "e0", other_cpu)
        self._window = shim.map_fd(way.loaded, "window")

    def nanoseconds(self, *, flows: int, services: int, within: float = DEADLINE) -> float:
        """Of the node's thread, for each packet.

        Raises ``AssertionError`` if not all come back ``within`` seconds. There may be no more than a window of them:
        whoever sends is through with all his turns if the node's CPU is away for so long.
        """
        before, spent = self._way.arrived(), _ran(self._node)
        with self._limited():
            self._way.send(flows=flows, services=services, packets=TURNS)
            sent = self._sent()
        eventually(lambda: self._way.arrived() - before == sent, f"all of {sent} packets come back", within)
        return (_ran(self._node) - spent) / sent

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """No more than WINDOW packets on their way."""
        self._put(WINDOW)
        try:
            yield
        finally:
            self._put(0)

    def _put(self, most: int) -> None:
        shim.update(self._window, bytes(4), _LIMIT.pack(most, 0, self._other_cpu, 0, 0), "window")

    def _sent(self) -> int:
        held = shim.lookup(self._window, bytes(4), _LIMIT.size, "window")
        assert held is not None
        return int(_LIMIT.unpack(held)[1])


def _thread(netns: str, device: str, cpu: int) -> int:
    """The process id of what polls this device from now on, on this CPU and before all else there."""
    # Devices of other namespaces have the same names, and so have their threads: no other test may start one meanwhile.
    with open(__file__, encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _threads(device)
        # In the namespace's own sysfs.
        run("ip", "netns", "exec", netns, "sh", "-c", f"echo 1 > /sys/class/net/{device}/threaded")
        (pid,) = _threads(device) - before
    os.sched_setaffinity(pid, {cpu})
    os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    return pid


def _threads(device: str) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has just ended
            if path.read_text().startswith(f"napi/{device}-"):
                found.add(int(path.parent.name))
    return found


def _ran(pid: int) -> int:
    """Nanoseconds (Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
