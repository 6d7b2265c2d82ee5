"""What stands in the maps, and whether it is right in itself.

Backends are found as the program finds them: from the frontend's block. A row is right if its owners are slot for slot
what ``maglev`` says for just the backends that serve; so one damaged slot is enough to be noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from announcer.model.lb import Backend, Frontend, FrontendKey, Mode
from announcer.model.net import IPAddress
from datapath import abi, blocks, encode, maglev, native, rows
from datapath.blocks import Entry, Ids
from datapath.decaps import Decaps
from datapath.maps import Maps
from datapath.sources import Ranges, SourceSets

_Get = Callable[[bytes], bytes | None]
_RangesOf = Callable[[int], Ranges]
_Backends = tuple[Backend, ...]


class Held(NamedTuple):
    """A frontend as it stands in the maps.

    ``ids`` by backend: first those that serve, sorted, then those that terminate. ``problem`` is empty if it is right
    in itself. ``ranges``: clients that are let in, None: all. ``for_others`` as in ``Frontend``: what other nodes may
    send to beyond its members.
    """

    entry: Entry = Entry()
    ids: Ids = ()
    problem: str = ""
    ranges: Ranges | None = None
    for_others: tuple[Backend, ...] = ()

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

    @property
    def mode(self) -> Mode:
        """As ``Frontend.mode``."""
        return encode.mode_of(self.entry.flags)

    def frontend(self, key: FrontendKey) -> Frontend:
        """What it amounts to."""
        return Frontend(
            key=key,
            backends=self.serving,
            terminating=self.terminating,
            for_others=self.for_others,
            affinity=bool(self.entry.flags & abi.FrontendFlag.AFFINITY),
            source_ranges=self.ranges,
            reject=bool(self.entry.flags & abi.FrontendFlag.REJECT),
            mode=self.mode,
        )


class Contents(NamedTuple):
    """All of the maps. ``vips`` and ``decaps`` as raw entries."""

    frontends: dict[FrontendKey, Held]
    vips: dict[bytes, bytes]
    decaps: dict[bytes, bytes]


class _Known(NamedTuple):
    """A frontend as it was read before: its entry, a digest of all that this names, and what follows from it.

    ``decaps``: the entries of its members.
    """

    raw: bytes
    digest: int
    held: Held
    vip: bytes
    decaps: dict[bytes, bytes]


class Reader:
    """Reads frontends, and looks into a block again only when something of it has changed."""

    def __init__(self, maps: Maps, sources: SourceSets, decaps: Decaps) -> None:
        """``sources``: what the entries' sets of clients mean. ``decaps``: which entries are wanted."""
        self._maps = maps
        self._sources = sources
        self._decaps = decaps
        self._digests = native.Digests(
            maps.rows.bytes, maps.backends.bytes, maps.nodes.bytes, maps.backends.info.max_entries
        )
        self._known: dict[FrontendKey, _Known] = {}

    def close(self) -> None:
        """Let go of the maps."""
        self._digests.close()

    def all(self) -> Contents:
        """Everything. Raises ``TargetError``."""
        self._sources.read()
        vips, decaps = self._maps.vips.dump(), self._maps.decaps.dump()
        entries = {encode.decode_frontend_key(key): value for key, value in self._maps.frontends.dump().items()}
        found = {key: self._read(key, raw, self._sources.ranges) for key, raw in entries.items()}
        others = self._others(found, decaps)
        self._known = {key: _with_others(known, others.get(key, ())) for key, known in found.items()}
        served = {known.vip for known in self._known.values() if known.held.entry.serving}
        frontends = {}
        for key, known in self._known.items():
            held = _checked(key, known, vips.get, decaps.get)
            if not held.problem and vips[known.vip] != vip_value(known.vip in served):
                held = held._replace(problem=f"the VIP entry of {key.vip} is wrong")
            frontends[key] = held
        return Contents(frontends, vips, decaps)

    def one(self, key: FrontendKey) -> Held | None:
        """One frontend, None if there is no entry. Raises ``TargetError``."""
        raw = self._maps.frontends.get(encode.frontend_key(key))
        if raw is None:
            return None
        known = self._read(key, raw, self._sources.verified)
        wanted = self._decaps.of(encode.frontend_key(key)).items() - known.decaps.items()
        others = [entry for entry in wanted if self._maps.decaps.get(entry[0]) == entry[1]]
        known = self._known[key] = _with_others(known, _backends(others))
        return _checked(key, known, self._maps.vips.get, self._maps.decaps.get)

    def _others(self, found: dict[FrontendKey, _Known], decaps: dict[bytes, bytes]) -> dict[FrontendKey, _Backends]:
        """By frontend: what is taken from other nodes beyond what its members need."""
        rest = decaps.keys() - self._decaps.lingering()
        for known in found.values():
            rest.difference_update(known.decaps)
        by_frontend: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for entry in rest:
            by_frontend.setdefault(encode.decap_frontend(entry), []).append((entry, decaps[entry]))
        keys = {encode.frontend_key(key): key for key in found} if by_frontend else {}
        return {keys[raw]: _backends(entries) for raw, entries in by_frontend.items() if raw in keys}

    def _read(self, key: FrontendKey, raw: bytes, ranges_of: _RangesOf) -> _Known:
        before = self._known.get(key)
        entry = before.held.entry if before and before.raw == raw else Entry.unpack(raw)
        ranges = ranges_of(entry.sources) if entry.sources else None
        digest = 0
        if entry.members and blocks.fits(self._maps, entry):
            digest = self._digests.of(entry.block, entry.length, entry.members)
        if before and (before.raw, before.digest, before.held.ranges, before.held.problem) == (raw, digest, ranges, ""):
            return before
        held = Held(entry, *_read_block(self._maps, entry), ranges)  # and for others, which the entry does not tell
        return _Known(raw, digest, held, encode.address_bytes(key.vip), encode.decap_entries(held.frontend(key)))


def _backends(entries: Iterable[tuple[bytes, bytes]]) -> _Backends:
    # Sorted as bytes, which is the order of their addresses, and takes what somebody else may have written.
    return tuple(encode.decap_backend(*entry) for entry in sorted(entries))


def _with_others(known: _Known, others: _Backends) -> _Known:
    """The same object, and so known to be the same, unless that differs."""
    return known if known.held.for_others == others else known._replace(held=known.held._replace(for_others=others))


def vip_value(serves: bool) -> bytes:
    """``struct lb_vip``."""
    return abi.VIP.pack(abi.VipFlag.SERVES if serves else 0)


def backend_at(maps: Maps, number: int) -> tuple[Backend, IPAddress | None] | None:
    """The backend of this id and its outer source address; None if there is none."""
    if not 0 < number < maps.backends.info.max_entries:
        return None
    at, node = number * abi.BACKEND_BYTES, abi.NO_ADDRESS
    entry = bytes(maps.backends.bytes[at : at + abi.BACKEND.size])
    if entry[abi.BACKEND_FLAGS_AT] & abi.BackendFlag.GENEVE:
        at = number * abi.ADDRESS_BYTES
        node = bytes(maps.nodes.bytes[at : at + abi.ADDRESS_BYTES])
    return encode.decode_backend_entry(entry, node)


def _checked(key: FrontendKey, known: _Known, vip: _Get, decap: _Get) -> Held:
    """With what other maps have to say of it."""
    held = known.held
    if held.problem:
        return held
    if vip(known.vip) is None:
        return held._replace(problem=f"no VIP entry for {key.vip}")
    if any(decap(raw) != value for raw, value in known.decaps.items()):
        return held._replace(problem="a decapsulation entry of a local backend is missing or wrong")
    return held


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
    serving = members[: entry.serving]
    if entry.prefers:
        right = entry.serving == entry.members and entry.bits == maglev.row_bits(entry.members)
        right = right and blocks.read_preferences(maps, entry) == maglev.preferences(members)
        return "" if right else "the preferences are not those of its backends"
    row = blocks.read_row(maps, entry)
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
