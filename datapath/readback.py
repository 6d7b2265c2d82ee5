"""What stands in the maps, and whether it is right in itself.

Backends are found as the program finds them: from the frontend's block. A row is right if its owners are slot for slot
what ``maglev`` says for just the backends that serve; so one damaged slot is enough to be noticed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

from announcer.model.lb import Backend, Frontend, FrontendKey, Mode
from announcer.model.net import IPAddress
from datapath import abi, blocks, encode, maglev, native, rota, rows
from datapath.blocks import Entry, Ids
from datapath.decaps import Decaps
from datapath.maps import Maps
from datapath.sources import Ranges, SourceSets

_Found = tuple[Backend, IPAddress | None] | None
_Get = Callable[[bytes], bytes | None]
_RangesOf = Callable[[int], Ranges]
_Backends = tuple[Backend, ...]
_NO_NUMBERS = array("I")
_GENEVE = int(abi.BackendFlag.GENEVE)
_NO_DECAPS: dict[bytes, bytes] = {}
#: ``struct lb_vip``, by whether it serves.
_VIP_VALUES = {serves: abi.VIP.pack(abi.VipFlag.SERVES if serves else 0) for serves in (False, True)}


class Held(NamedTuple):
    """A frontend as it stands in the maps.

    ``members`` in the order of the block: first those that serve, sorted, then those that terminate; ``numbers``: their
    ids. ``problem`` is empty if it is right in itself. ``ranges``: clients that are let in, None: all. ``for_others``
    as in ``Frontend``: what other nodes may send to beyond its members.
    """

    entry: Entry = Entry()
    members: _Backends = ()
    numbers: array[int] = _NO_NUMBERS
    problem: str = ""
    ranges: Ranges | None = None
    for_others: _Backends = ()

    @property
    def ids(self) -> Ids:
        """Each member with its id."""
        return tuple(zip(self.members, self.numbers, strict=True))

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
    """A frontend as it was read before: its entry, where the block is watched, and what follows from these.

    ``decaps``: the entries in the map of what others may send that its members on this node need.
    """

    key: FrontendKey
    raw: bytes
    slot: int
    held: Held
    decaps: dict[bytes, bytes]


class Reader:
    """Reads frontends, and looks into a block again only when something of it has changed."""

    def __init__(self, maps: Maps, sources: SourceSets, decaps: Decaps) -> None:
        """``sources``: what the entries' sets of clients mean. ``decaps``: which entries are wanted."""
        self._maps = maps
        self._sources = sources
        self._decaps = decaps
        self._watch = native.Watch(
            maps.rows.bytes, maps.backends.bytes, maps.nodes.bytes, maps.backends.info.max_entries
        )
        self._known: dict[bytes, _Known] = {}
        self._by_slot: dict[int, bytes] = {}
        self._doubtful: set[bytes] = set()
        self._rota = rota.Rota((maps.frontends, maps.vips, maps.decaps))

    def close(self) -> None:
        """Let go of the maps."""
        self._watch.close()

    def all(self) -> Contents:
        """Everything. Raises ``TargetError``."""
        self._sources.read()
        vips, decaps = self._maps.vips.take_stock(), self._maps.decaps.take_stock()
        entries = self._maps.frontends.take_stock()
        for raw_key in self._known.keys() - entries.keys():
            self._forget(raw_key)
        differing = self._watch.differing()
        backends: dict[int, _Found] = {}
        for raw_key, raw in entries.items():
            known = self._known.get(raw_key)
            changed = known is None or known.slot in differing
            self._read(raw_key, raw, self._sources.ranges, changed=changed, backends=backends)
        others = self._others(decaps)
        served = {raw_key[: abi.ADDRESS_BYTES] for raw_key, known in self._known.items() if known.held.entry.serving}
        frontends = {}
        for raw_key, known in self._known.items():
            if known.held.for_others or raw_key in others:
                known = self._known[raw_key] = _with_others(known, others.get(raw_key, ()))
            held, vip = _checked(known, decaps.get), raw_key[: abi.ADDRESS_BYTES]
            problem = "" if held.problem else vip_problem(known.key.vip, vips.get, serves=vip in served)
            frontends[known.key] = held._replace(problem=problem) if problem else held
        return Contents(frontends, vips, decaps)

    def one(self, key: FrontendKey) -> Held | None:
        """One frontend, None if there is no entry; but for what its VIP's entry says. Raises ``TargetError``."""
        raw_key = encode.frontend_key(key)
        raw = self._maps.frontends.get(raw_key)
        if raw is None:
            self._forget(raw_key)
            return None
        before = self._known.get(raw_key)
        known = self._read(
            raw_key, raw, self._sources.verified, changed=before is None or not self._watch.same(before.slot)
        )
        wanted = self._decaps.of(raw_key)
        if wanted or known.held.for_others:
            rest = wanted.items() - known.decaps.items()
            others = [entry for entry in rest if self._maps.decaps.get(entry[0]) == entry[1]]
            known = self._known[raw_key] = _with_others(known, _backends(others))
        return _checked(known, self._maps.decaps.get)

    def doubt(self, key: FrontendKey) -> None:
        """Its entry was written since it was read."""
        self._doubtful.add(encode.frontend_key(key))

    def doubts(self, key: FrontendKey) -> bool:
        """Was something of it written, or not as it was, since it was trusted last?"""
        return encode.frontend_key(key) in self._doubtful

    def trust(self, key: FrontendKey, held: Held | None) -> None:
        """What was read of it is known to whom it concerns, as ``held``: so one object of it is kept, and not two."""
        raw_key = encode.frontend_key(key)
        self._doubtful.discard(raw_key)
        known = self._known.get(raw_key)
        if known and held and known.held == held:
            self._known[raw_key] = known._replace(held=held)

    def trust_all(self) -> None:
        """The same of all."""
        self._doubtful.clear()

    def as_left(self) -> bool:
        """False: somebody else has changed an entry. Of large maps not all are asked at a time (``datapath.rota``).

        Raises ``TargetError``.
        """
        return self._rota.as_left()

    def doubtful(self) -> list[FrontendKey]:
        """Frontends of which something was written, or is not as it was, since they were trusted last. Of many blocks
        not all are looked at at a time. Raises ``TargetError``."""
        self._doubtful |= {self._by_slot[slot] for slot in self._watch.some_differing(rota.LOOK_BYTES)}
        if self._sources.read():
            known = self._known.items()
            self._doubtful |= {raw_key for raw_key, each in known if self._lets_in_others(each.held)}
        return [self._key_of(raw_key) for raw_key in self._doubtful]

    def _key_of(self, raw_key: bytes) -> FrontendKey:
        known = self._known.get(raw_key)
        return known.key if known else encode.decode_frontend_key(raw_key)

    def _lets_in_others(self, held: Held) -> bool:
        return held.ranges != (self._sources.ranges(held.entry.sources) if held.entry.sources else None)

    def _others(self, decaps: dict[bytes, bytes]) -> dict[bytes, _Backends]:
        """By frontend: what is taken from other nodes beyond what its members need."""
        rest = decaps.keys() - self._decaps.lingering()
        if rest:
            for known in self._known.values():
                rest.difference_update(known.decaps)
        by_frontend: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for entry in rest:
            by_frontend.setdefault(encode.decap_frontend(entry), []).append((entry, decaps[entry]))
        return {raw_key: _backends(entries) for raw_key, entries in by_frontend.items()}

    def _read(
        self,
        raw_key: bytes,
        raw: bytes,
        ranges_of: _RangesOf,
        *,
        changed: bool,
        backends: dict[int, _Found] | None = None,
    ) -> _Known:
        """``changed``: something of the block is not as it was. ``backends``: those that were read already, by id."""
        before = self._known.get(raw_key)
        entry = before.held.entry if before and before.raw == raw else Entry.unpack(raw)
        ranges = ranges_of(entry.sources) if entry.sources else None
        if before and not changed and (before.raw, before.held.ranges, before.held.problem) == (raw, ranges, ""):
            return before
        slot = before.slot if before else self._watch.take()
        fits = entry.members and blocks.fits(self._maps, entry)
        self._watch.begin(slot, *(entry.block, entry.length, entry.members) if fits else (0, 0, 0))
        members, numbers, problem = _read_block(self._maps, entry, {} if backends is None else backends)
        held = Held(entry, members, numbers, problem, ranges)  # and for others, which the entry does not tell
        key = before.key if before else encode.decode_frontend_key(raw_key)
        self._by_slot[slot] = raw_key
        decaps = encode.decap_entries_of(raw_key, members) or _NO_DECAPS  # one object for all that need none
        known = self._known[raw_key] = _Known(key, raw, slot, held, decaps)
        self._doubtful.add(raw_key)
        return known

    def _forget(self, raw_key: bytes) -> None:
        known = self._known.pop(raw_key, None)
        if known is not None:
            self._watch.give(known.slot)
            del self._by_slot[known.slot]
            self._doubtful.add(raw_key)


def _backends(entries: Iterable[tuple[bytes, bytes]]) -> _Backends:
    # Sorted as bytes, which is the order of their addresses, and takes what somebody else may have written.
    return tuple(encode.decap_backend(*entry) for entry in sorted(entries))


def _with_others(known: _Known, others: _Backends) -> _Known:
    """The same object, and so known to be the same, unless that differs."""
    return known if known.held.for_others == others else known._replace(held=known.held._replace(for_others=others))


def vip_problem(vip: IPAddress, get: _Get, *, serves: bool) -> str:
    """What is wrong with the entry of a VIP of frontends of which one ``serves``, or none."""
    found = get(encode.address_bytes(vip))
    if found is None:
        return f"no VIP entry for {vip}"
    return "" if found == vip_value(serves) else f"the VIP entry of {vip} is wrong"


def vip_value(serves: bool) -> bytes:
    """``struct lb_vip``."""
    return _VIP_VALUES[serves]


def backend_at(maps: Maps, number: int) -> _Found:
    """The backend of this id and its outer source address; None if there is none."""
    if not 0 < number < maps.backends.info.max_entries:
        return None
    at, node = number * abi.BACKEND_BYTES, abi.NO_ADDRESS
    entry = bytes(maps.backends.bytes[at : at + abi.BACKEND.size])
    if entry[abi.BACKEND_FLAGS_AT] & _GENEVE:
        at = number * abi.ADDRESS_BYTES
        node = bytes(maps.nodes.bytes[at : at + abi.ADDRESS_BYTES])
    return encode.decode_backend_entry(entry, node)


def source_at(maps: Maps, number: int) -> bytes:
    """The outer source address towards the backend of this id, which there is."""
    at = number * abi.BACKEND_BYTES + abi.BACKEND_SOURCE_AT
    return bytes(maps.backends.bytes[at : at + abi.ADDRESS_BYTES])


def _checked(known: _Known, decap: _Get) -> Held:
    """With what the map of what others may send has to say of it."""
    held = known.held
    if held.problem:
        return held
    if known.decaps and any(decap(raw) != value for raw, value in known.decaps.items()):
        return held._replace(problem="a decapsulation entry of a local backend is missing or wrong")
    return held


def _read_block(maps: Maps, entry: Entry, known: dict[int, _Found]) -> tuple[_Backends, array[int], str]:
    """Members, their ids, and what is wrong. ``known``: backends that were read already, by id."""
    if not entry.members:
        return (), _NO_NUMBERS, ""
    if not blocks.fits(maps, entry):
        return (), _NO_NUMBERS, "the block lies outside of lb_rows"
    ids: dict[Backend, int] = {}
    for number in blocks.read_ids(maps, entry):
        if number not in known:
            known[number] = backend_at(maps, number)
        found = known[number]
        if found is None:
            return *_columns(ids), f"the block names backend {number}, which is not there"
        if found[0] in ids:
            return *_columns(ids), f"backends {ids[found[0]]} and {number} are the same"
        ids[found[0]] = number
    members, numbers = _columns(ids)
    return members, numbers, _row_problem(maps, entry, members)


def _columns(ids: dict[Backend, int]) -> tuple[_Backends, array[int]]:
    return tuple(ids), array("I", ids.values())


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
