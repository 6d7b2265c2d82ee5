"""What stands in the maps, and whether it is right in itself.

Backends are found as the program finds them: from the frontend's block. A row is right if its owners are slot for slot
what ``maglev`` says for just the backends that serve; so one damaged slot is enough to be noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import IPAddress
from datapath import abi, blocks, encode, native, rows
from datapath.blocks import Entry
from datapath.maps import Maps
from datapath.sources import Ranges, SourceSets

_Get = Callable[[bytes], bytes | None]
_RangesOf = Callable[[int], Ranges]
Ids = tuple[tuple[Backend, int], ...]


class Held(NamedTuple):
    """A frontend as it stands in the maps.

    ``ids`` by backend: first those that serve, sorted, then those that terminate. ``problem`` is empty if it is right
    in itself. ``ranges``: clients that are let in, None: all.
    """

    entry: Entry = Entry()
    ids: Ids = ()
    problem: str = ""
    ranges: Ranges | None = None

    @property
    def members(self) -> tuple[Backend, ...]:
        """In the order of the block."""
        return tuple(backend for backend, _ in self.ids)

    @property
    def serving(self) -> tuple[Backend, ...]:
        """As ``Frontend.backends``."""
        return self.members[: self.entry.serving]

    @property
    def terminating(self) -> tuple[Backend, ...]:
        """As ``Frontend.terminating``."""
        return self.members[self.entry.serving :]

    def frontend(self, key: FrontendKey) -> Frontend:
        """What it amounts to."""
        affinity = bool(self.entry.flags & abi.FrontendFlag.AFFINITY)
        return Frontend(
            key=key,
            backends=self.serving,
            terminating=self.terminating,
            affinity=affinity,
            source_ranges=self.ranges,
        )


class Contents(NamedTuple):
    """All of the maps. ``vips`` and ``decaps`` as raw entries."""

    frontends: dict[FrontendKey, Held]
    vips: dict[bytes, bytes]
    decaps: dict[bytes, bytes]


def read(maps: Maps, sources: SourceSets) -> Contents:
    """Everything. Raises ``TargetError``."""
    sources.read()
    vips, decaps = maps.vips.dump(), maps.decaps.dump()
    entries = {encode.decode_frontend_key(key): Entry.unpack(value) for key, value in maps.frontends.dump().items()}
    served = {encode.address_bytes(key.vip) for key, entry in entries.items() if entry.serving}
    frontends = {}
    for key, entry in entries.items():
        held = _held(maps, key, entry, vips.get, decaps.get, sources.ranges)
        vip = encode.address_bytes(key.vip)
        if not held.problem and vips[vip] != vip_value(vip in served):
            held = held._replace(problem=f"the VIP entry of {key.vip} is wrong")
        frontends[key] = held
    return Contents(frontends, vips, decaps)


def read_one(maps: Maps, sources: SourceSets, key: FrontendKey) -> Held | None:
    """One frontend, None if there is no entry. Raises ``TargetError``."""
    raw = maps.frontends.get(encode.frontend_key(key))
    if raw is None:
        return None
    return _held(maps, key, Entry.unpack(raw), maps.vips.get, maps.decaps.get, sources.verified)


def vip_value(serves: bool) -> bytes:
    """``struct lb_vip``."""
    return abi.VIP.pack(abi.VipFlag.SERVES if serves else 0)


def backend_at(maps: Maps, number: int) -> tuple[Backend, IPAddress | None] | None:
    """The backend of this id and its outer source address; None if there is none."""
    if not 0 < number < maps.backends.info.max_entries:
        return None
    at = number * abi.BACKEND_BYTES
    return encode.decode_backend_entry(bytes(maps.backends.bytes[at : at + abi.BACKEND.size]))


def _held(maps: Maps, key: FrontendKey, entry: Entry, vip: _Get, decap: _Get, ranges: _RangesOf) -> Held:
    ids, problem = _read_block(maps, entry)
    held = Held(entry, ids, problem, ranges(entry.sources) if entry.sources else None)
    if not problem and vip(encode.address_bytes(key.vip)) is None:
        problem = f"no VIP entry for {key.vip}"
    if not problem:
        wanted = encode.decap_entries(held.frontend(key))
        if any(decap(raw) != value for raw, value in wanted.items()):
            problem = "a decapsulation entry of a local backend is missing or wrong"
    return held._replace(problem=problem)


def _read_block(maps: Maps, entry: Entry) -> tuple[Ids, str]:
    if not entry.members:
        return (), ""
    if not blocks.fits(maps, entry):
        return (), "the block lies outside of lb_rows"
    ids: dict[Backend, int] = {}
    for number in blocks.read_ids(maps, entry):
        found = backend_at(maps, number)
        if found is None:
            return tuple(ids.items()), f"the block names backend {number}, which is not there"
        if found[0] in ids:
            return tuple(ids.items()), f"backends {ids[found[0]]} and {number} are the same"
        ids[found[0]] = number
    return tuple(ids.items()), _row_problem(maps, entry, tuple(ids))


def _row_problem(maps: Maps, entry: Entry, members: tuple[Backend, ...]) -> str:
    row, serving = blocks.read_row(maps, entry), members[: entry.serving]
    wanted = rows.steady(serving)
    if wanted.bits != row.bits:
        return f"the row has {len(row.slots)} slots for {entry.serving} backends"
    if not native.same_owners(row.slots, wanted.slots):
        return "the row is not that of its backends"
    if 0 < entry.previous_bits < entry.bits:
        return "previous owners of fewer slots than there are"
    if any(position >= entry.members and position != abi.NOBODY for position in set(row.previous)):
        return "a previous owner is no member"
    return ""
