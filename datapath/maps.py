"""The maps in the kernel, by descriptor. Entries are bytes here; ``encode`` knows what they mean."""

from __future__ import annotations

import errno
import mmap
import os
from typing import NamedTuple

from announcer.model.errors import TargetError
from datapath import abi, native, shim

_MASK = (1 << 64) - 1
#: To walk a map in the kernel takes most of a millisecond also if it is empty, to hand over an entry a quarter of a
#: microsecond.
_WORTH_ADDING = 3000


class HashMap:
    """A map of any kind, by its entries. Owns its descriptor."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.info = shim.map_info(fd)
        self._fd = fd

    def dump(self) -> dict[bytes, bytes]:
        """All entries."""
        return self._entries(*self._dump())

    def _dump(self) -> tuple[bytes, bytes]:
        return shim.dump(self._fd, self.info, self.name)

    def _entries(self, keys: bytes, values: bytes) -> dict[bytes, bytes]:
        ks, vs = self.info.key_size, self.info.value_size
        each_value = (values[at : at + vs] for at in range(0, len(values), vs))
        return dict(zip((keys[at : at + ks] for at in range(0, len(keys), ks)), each_value, strict=True))

    def get(self, key: bytes) -> bytes | None:
        """The value, None if there is none."""
        return shim.lookup(self._fd, key, self.info.value_size, self.name)

    def put(self, key: bytes, value: bytes) -> None:
        """Insert or replace in one step. Raises ``TargetError``, among others when the map is full."""
        try:
            shim.update(self._fd, key, value, self.name)
        except TargetError as error:
            if error.errno in (errno.E2BIG, errno.ENOSPC):  # a hash says the one, a trie the other
                detail = f"the map is full ({self.info.max_entries} entries)"
                raise TargetError(error.op, errno=error.errno, detail=detail) from error
            raise

    def remove(self, key: bytes) -> None:
        """Remove; an entry that is not there is no error."""
        shim.delete(self._fd, key, self.name)

    def close(self) -> None:
        """Close the descriptor. The map stays while it is pinned or in use."""
        os.close(self._fd)


class SummedMap(HashMap):
    """A map of which is known how many entries it has and what they add up to (``bpf/lb_sum.h``).

    So it need not be read to see that it is as this process has left it.
    """

    def __init__(self, name: str, fd: int, adds: int, which: abi.Summed) -> None:
        """``adds``: the program that adds it up."""
        super().__init__(name, fd)
        self._adds = adds
        self._which = which
        self._sum = 0
        self.entries = 0

    def take_stock(self) -> dict[bytes, bytes]:
        """All entries; from now on these are what is known to be there."""
        keys, values = self._dump()
        self._sum, self.entries = self._mixed(keys, values), len(keys) // self.info.key_size
        return self._entries(keys, values)

    def put(self, key: bytes, value: bytes) -> None:
        """As of any map; what is so already is not written."""
        before = self.get(key)
        if before == value:
            return
        super().put(key, value)
        self._add(key, before, -1)
        self._add(key, value, 1)

    def remove(self, key: bytes) -> None:
        """As of any map."""
        before = self.get(key)
        super().remove(key)
        self._add(key, before, -1)

    def is_as_left(self) -> bool:
        """False: somebody else has changed something since stock was taken. Raises ``TargetError``."""
        if self.entries < _WORTH_ADDING:
            return self._mixed(*self._dump()) == self._sum
        _, found = abi.SUM.unpack(shim.run_syscall(self._adds, abi.SUM.pack(self._which, 0)))
        return bool(found == self._sum)

    def _add(self, key: bytes, value: bytes | None, times: int) -> None:
        if value is not None:
            self._sum = (self._sum + times * self._mixed(key, value)) & _MASK
            self.entries += times

    def _mixed(self, keys: bytes, values: bytes) -> int:
        return native.entries_sum(keys, self.info.key_size, values, self.info.value_size)


class MappedArray:
    """An array map that is also memory of this process (``BPF_F_MMAPABLE``): reads and writes are no system calls."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.info = shim.map_info(fd)
        self._fd = fd
        self._mapping = mmap.mmap(fd, self.info.value_size * self.info.max_entries)
        self.bytes = memoryview(self._mapping)
        self.words = self.bytes.cast("I")
        self.halves = self.bytes.cast("H")

    def unmap(self) -> None:
        """No longer in memory of this process."""
        self.words.release()
        self.halves.release()
        self.bytes.release()
        self._mapping.close()

    def close(self) -> None:
        """Unmap and close. The map stays while it is pinned or in use."""
        self.unmap()
        os.close(self._fd)


class StatsMap:
    """Per-CPU counters, one 64-bit number per index and possible CPU."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.info = shim.map_info(fd)
        self._fd = fd
        self._cpus = _possible_cpus()

    def read(self) -> list[int]:
        """The sum over all CPUs for every index."""
        _, data = shim.dump(self._fd, self.info._replace(value_size=8 * self._cpus), self.name)
        counts = memoryview(data).cast("Q")
        return [sum(counts[at : at + self._cpus]) for at in range(0, len(counts), self._cpus)]

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


def _possible_cpus() -> int:
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        return int(file.read().strip().rpartition("-")[2].rpartition(",")[2]) + 1


class Maps(NamedTuple):
    """All maps of the programs."""

    frontends: SummedMap
    shortcuts: MappedArray
    places: MappedArray
    vips: SummedMap
    sieve: MappedArray
    rows: MappedArray
    ranks: MappedArray
    backends: MappedArray
    decaps: SummedMap
    guards: HashMap
    sources: HashMap
    flows: HashMap
    flows_new: HashMap
    replies: HashMap
    replies_new: HashMap
    replies_udp: HashMap
    nodes: MappedArray
    snat_flows: HashMap
    snat_ports: HashMap
    snat_work: HashMap
    fragments: HashMap
    vlans: HashMap
    vlan_ways: HashMap
    settings: HashMap
    scratch: HashMap
    stats: StatsMap

    @classmethod
    def of(cls, fds: dict[str, int], adds: int) -> Maps:
        """From descriptors by map name; takes them over. ``adds``: the program ``lb_sum``."""
        return cls(
            frontends=SummedMap("lb_frontends", fds["lb_frontends"], adds, abi.Summed.FRONTENDS),
            shortcuts=MappedArray("lb_shortcuts", fds["lb_shortcuts"]),
            places=MappedArray("lb_places", fds["lb_places"]),
            vips=SummedMap("lb_vips", fds["lb_vips"], adds, abi.Summed.VIPS),
            sieve=MappedArray("lb_sieve", fds["lb_sieve"]),
            rows=MappedArray("lb_rows", fds["lb_rows"]),
            ranks=MappedArray("lb_ranks", fds["lb_ranks"]),
            backends=MappedArray("lb_backends", fds["lb_backends"]),
            decaps=SummedMap("lb_decaps", fds["lb_decaps"], adds, abi.Summed.DECAPS),
            guards=HashMap("lb_guards", fds["lb_guards"]),
            sources=HashMap("lb_sources", fds["lb_sources"]),
            flows=HashMap("lb_flows", fds["lb_flows"]),
            flows_new=HashMap("lb_flows_new", fds["lb_flows_new"]),
            replies=HashMap("lb_replies", fds["lb_replies"]),
            replies_new=HashMap("lb_replies_new", fds["lb_replies_new"]),
            replies_udp=HashMap("lb_replies_udp", fds["lb_replies_udp"]),
            nodes=MappedArray("lb_nodes", fds["lb_nodes"]),
            snat_flows=HashMap("lb_snat_flows", fds["lb_snat_flows"]),
            snat_ports=HashMap("lb_snat_ports", fds["lb_snat_ports"]),
            snat_work=HashMap("lb_snat_work", fds["lb_snat_work"]),
            fragments=HashMap("lb_fragments", fds["lb_fragments"]),
            vlans=HashMap("lb_vlans", fds["lb_vlans"]),
            vlan_ways=HashMap("lb_vlan_ways", fds["lb_vlan_ways"]),
            settings=HashMap("lb_settings", fds["lb_settings"]),
            scratch=HashMap("lb_scratch", fds["lb_scratch"]),
            stats=StatsMap("lb_stats", fds["lb_stats"]),
        )

    def close(self) -> None:
        """Close all."""
        for each in self:
            each.close()
