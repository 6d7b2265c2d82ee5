"""Writing frontends into the maps, in an order that is safe against packets and against death at any point.

A frontend is made complete where no packet looks (backends, block, decapsulation, VIP) and then switched by one update
of its entry; only after that is the old given up. Whoever dies in between leaves the old or the new frontend standing,
and leftovers that nothing points to: the next start takes them for free, or sweeps them away.

An index says which backend has which id and what is free. It is made from the maps, and made anew when they differ.
"""

from __future__ import annotations

import errno
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from announcer.model.changes import Derived, changed
from announcer.model.errors import TargetError
from announcer.model.lb import Backend, Frontend, FrontendKey, MapUsage
from announcer.model.net import IPAddress
from datapath import abi, blocks, encode, native, numbering, readback, rows
from datapath.blocks import Entry
from datapath.decaps import Decaps
from datapath.extents import Extents
from datapath.limits import Limits
from datapath.maps import Maps
from datapath.readback import Contents, Held, Reader
from datapath.rows import Row
from datapath.shortcuts import Shortcuts
from datapath.sieve import Sieve
from datapath.sources import SourceSets

_Members = tuple[Backend, ...]
#: Outer source address towards each remote backend, None where there is no route.
Sources = Mapping[Backend, IPAddress | None]


class Tables:
    """The maps as a set of frontends."""

    def __init__(self, maps: Maps, limits: Limits) -> None:
        self.maps = maps
        self._sieve = Sieve(maps.sieve)
        self.shortcuts = Shortcuts(maps.shortcuts, maps.places, maps.rows, rest=limits.rest)
        self.sources = SourceSets(maps.sources, rest=limits.rest)
        self._decaps = Decaps(maps.decaps, linger=limits.linger)
        self._reader = Reader(maps, self.sources, self._decaps)
        self._blocks = Extents(len(maps.rows.words), rest=limits.rest)
        self._numbers = Extents(maps.backends.info.max_entries, rest=limits.rest)
        self.frontends: dict[FrontendKey, Held] = {}
        self._troubled: set[FrontendKey] = set()
        self._stale = False
        self._followers: list[set[FrontendKey]] = []
        self._unread = self.follow()
        self._read: dict[FrontendKey, Frontend] = {}
        self._wishes: dict[FrontendKey, Frontend] = {}
        self._usage: dict[str, MapUsage] = {}
        self._rebuild(self._reader.all())

    def follow(self) -> set[FrontendKey]:
        """A set to which frontends are added that change. Whoever asked for it takes them out."""
        follower = set(self.frontends)
        self._followers.append(follower)
        return follower

    def _rebuild(self, contents: Contents) -> None:
        for key in contents.frontends.keys() | self.frontends.keys():
            self._hold(key, contents.frontends.get(key))
        self._vips = dict(contents.vips)
        self._sieve.follow(self._vips.keys())
        self.shortcuts.forget_all(self._keys())
        self._decaps.follow(contents.decaps)
        self._on_vip: dict[IPAddress, dict[FrontendKey, bool]] = {}
        self._ids: dict[Backend, int] = {}
        self._users: Counter[Backend] = Counter()
        for key, held in self.frontends.items():
            self._on_vip.setdefault(key.vip, {})[key] = held.entry.serving > 0
            self._ids.update(zip(held.members, held.numbers, strict=True))
            self._users.update(held.members)
        taken = [(held.entry.block, held.entry.length) for held in self.frontends.values()]
        ids = [(number, 1) for held in self.frontends.values() for number in held.numbers]
        self.sources.used_by(held.entry.sources for held in self.frontends.values())
        self._blocks = self._blocks.taken_by(taken)
        self._numbers = self._numbers.taken_by([(0, 1), *ids])  # id 0 means none

    def _hold(self, key: FrontendKey, held: Held | None) -> None:
        """Let the index have it so."""
        if held is None:
            self.frontends.pop(key, None)
        else:
            self.frontends[key] = held
        (self._troubled.add if held and held.problem else self._troubled.discard)(key)
        self._tell(key)

    def _tell(self, key: FrontendKey) -> None:
        for follower in self._followers:
            follower.add(key)

    def close(self) -> None:
        """Let go of the maps."""
        self._sieve.close()
        self.shortcuts.close()
        self._reader.close()

    def refresh(self) -> None:
        """Look whether the maps are as the index has them, large ones in turns; where they differ, believe the maps.

        Raises ``TargetError``.
        """
        doubtful = {*self._reader.doubtful(), *self._troubled}
        if (
            self._stale
            or not self._reader.as_left()
            or any(self.look(key) != self.frontends.get(key) for key in doubtful)
        ):
            self._read_all()
        self._mend()

    def look(self, key: FrontendKey) -> Held | None:
        """The frontend as it stands in the maps now, None if there is none. Raises ``TargetError``."""
        held = self._reader.one(key)
        if held and not held.problem and key.vip in self._on_vip:
            problem = readback.vip_problem(key.vip, self.maps.vips.get, serves=any(self._on_vip[key.vip].values()))
            held = held._replace(problem=problem) if problem else held
        if self._reader.doubts(key):
            self._tell(key)  # it may be the same in itself, and the way to a backend another
            mine = self.frontends.get(key)
            if held == mine:
                self._reader.trust(key, mine)
                return mine
        return held

    def _read_all(self) -> None:
        self._stale = True  # until it has come to its end
        contents = self._reader.all()
        if contents != Contents(self.frontends, self._vips, self._decaps.entries()):
            self._rebuild(contents)
        for key in self.frontends:
            self._tell(key)
        self._reader.trust_all()
        self._stale = False

    def _mend(self) -> None:
        self._sieve.mend()
        self.shortcuts.mend(self._keys())
        blocks.mend_ranks(self.maps)

    def _keys(self) -> Iterator[bytes]:
        return map(encode.frontend_key, self.frontends)

    def tend(self, now: float) -> None:
        """Take away what was kept only for packets on their way (CLOCK_MONOTONIC seconds). Raises ``TargetError``."""
        self.sources.tend(now)
        self._decaps.tend(now)

    def shorten(self, now: float) -> None:
        """Fill shortcuts that no packet is at any more (CLOCK_MONOTONIC seconds). Raises ``TargetError``."""
        self.shortcuts.tend(now, self.maps.frontends.get)

    def sweep(self) -> None:
        """Mend what an earlier run left half made: VIPs and decapsulation entries that belong to no frontend go, and
        whether a VIP serves follows from its frontends."""
        wanted: set[bytes] = set()
        for key, held in self.frontends.items():
            wanted.update(encode.decap_entries(held.frontend(key)))
        self._decaps.keep_only(wanted)
        for vip in self._vips.keys() - {encode.address_bytes(key.vip) for key in self.frontends}:
            self.maps.vips.remove(vip)
        for address, frontends in self._on_vip.items():
            raw, value = encode.address_bytes(address), readback.vip_value(any(frontends.values()))
            if self._vips.get(raw, value) != value:
                self.maps.vips.put(raw, value)
        self.sources.tend(math.inf)
        self._read_all()
        self._mend()

    def read(self) -> dict[FrontendKey, Frontend]:
        """What they amount to, as they were read last.

        What stays the same stays the same object, all of it too, and is the one that was programmed: so to compare
        thousands of them with what is wanted is to compare references.
        """
        if not self._unread:
            return self._read
        before, now = self._read, Derived(self._read)
        for key in self._unread:
            held, earlier = self.frontends.get(key), before.get(key)
            found = held.frontend(key) if held else None
            if found is not None:
                found = next((each for each in (self._wishes.get(key), earlier) if each == found), found)
            if found is earlier:
                continue
            if found is None:
                del now[key]
            else:
                now[key] = found
        if changed(before, now):
            self._read = now
        self._unread.clear()
        self._wishes.clear()
        return self._read

    def backends_of(self, key: FrontendKey) -> tuple[Backend, ...]:
        """Backends of a frontend, terminating ones too; none if there is no such frontend."""
        held = self.frontends.get(key)
        return held.members if held else ()

    def unused(self, backends: Iterable[Backend]) -> list[Backend]:
        """Those that no frontend uses."""
        return [backend for backend in backends if self._users[backend] <= 0]

    def remote_backends(self) -> list[Backend]:
        """Backends on other nodes that some frontend uses."""
        return [backend for backend in self._users if not backend.local]

    def usage(self) -> dict[str, MapUsage]:
        """How full the maps are; ``lb_rows`` in words of 4 bytes. The same object while it stays the same."""
        words, numbers = self._blocks.size, self._numbers.size
        usage = {
            "lb_frontends": MapUsage(len(self.frontends), self.maps.frontends.info.max_entries),
            "lb_vips": MapUsage(len(self._vips), self.maps.vips.info.max_entries),
            "lb_rows": MapUsage(words - self._blocks.free(), words),
            "lb_backends": MapUsage(numbers - self._numbers.free() - 1, numbers),
            "lb_sources": MapUsage(self.sources.entries(), self.maps.sources.info.max_entries),
            "lb_decaps": MapUsage(len(self._decaps), self.maps.decaps.info.max_entries),
        }
        if usage != self._usage:
            self._usage = usage
        return self._usage

    def program(self, frontend: Frontend, sources: Sources, now: float) -> None:
        """Make the maps hold this frontend. Raises ``TargetError``; then the old one still stands.

        It is read back by the proof, before anything is announced, and by every observation.
        """
        key = frontend.key
        old = self._current(key)
        self.tend(now)
        with self._whole(), ExitStack() as undo:
            members = (*frontend.backends, *frontend.terminating) if frontend.terminating else frontend.backends
            taken: list[int] = []
            undo.callback(self._give_back, taken, now)
            numbers = self._numbers_for(members, now, taken)
            self._write_backends(members, numbers, sources)
            serves = self._serves(key, serving=bool(frontend.backends))
            if old is not None and not old.problem and old.numbers == numbers and old.frontend(key) == frontend:
                undo.pop_all()
                self._put_vip(key.vip, serves)
                return
            row = self._next_row(old, frontend)
            since = coarse(now) if row and row.in_transition else 0
            flags = encode.frontend_flags(frontend)
            clients = self.sources.take(frontend.source_ranges, undo)
            new = blocks.entry_of(row, len(frontend.backends), len(members), flags, since, clients)
            new = self._place(new, members, numbers, row, now, undo)
            self._decaps.put(encode.decap_entries(frontend), undo)
            undo.callback(self._restore_vip, key.vip, self._vips.get(encode.address_bytes(key.vip)))
            self._put_vip(key.vip, serves)
            self._put_entry(key, new)
            undo.pop_all()
            held = Held(new, members, numbers, ranges=frontend.source_ranges, for_others=frontend.for_others)
            self._switched(frontend, old, held, now)
        self._wishes[key] = frontend

    def replace_row(self, key: FrontendKey, row: Row, now: float) -> None:
        """The same members with another row: slots have become steady. Raises ``TargetError``."""
        old = self.frontends[key]
        with self._whole(), ExitStack() as undo:
            _, serving, members, *_ = old.entry
            since = old.entry.since if row.in_transition else 0
            new = blocks.entry_of(row, serving, members, old.entry.flags, since, old.entry.sources)
            new = self._place(new, old.members, old.numbers, row, now, undo)
            self._put_entry(key, new)
            undo.pop_all()
        self._reader.doubt(key)
        self._hold(key, old._replace(entry=new))
        self._give_block(old.entry, now)

    def remove(self, key: FrontendKey, now: float) -> None:
        """Remove a frontend, then what nothing uses any more. One that is not there is no error."""
        old = self._current(key)
        with self._whole():
            if old is not None:
                self.shortcuts.forget(encode.frontend_key(key))
                self.maps.frontends.remove(encode.frontend_key(key))
            self._switched(Frontend(key=key), old, None, now)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What fails midway leaves the maps as nobody knows: the next look reads all of them."""
        try:
            yield
        except TargetError:
            self._stale = True
            raise

    # --- parts of a frontend ---------------------------------------------------------------------------------------

    def _numbers_for(self, members: Sequence[Backend], now: float, taken: list[int]) -> array[int]:
        """Their ids; ``taken`` is told of new ones."""
        found = [self._ids.get(backend) for backend in members]
        missing = found.count(None)
        if missing:
            held = [number for number in found if number is not None]
            numbering.take(self._numbers, held, missing, now, taken)
        new = iter(taken)
        return array("I", [next(new) if number is None else number for number in found])

    def _write_backends(self, members: Sequence[Backend], numbers: array[int], sources: Sources) -> None:
        """Let their entries be right."""
        for backend, number in zip(members, numbers, strict=True):
            if backend.node is not None:
                # Before the entry that says so; what it said of an earlier backend nobody looks at any more.
                at = number * abi.ADDRESS_BYTES
                self.maps.nodes.bytes[at : at + abi.ADDRESS_BYTES] = encode.node_entry(backend)
        entries = [encode.backend_entry(backend, sources.get(backend)) for backend in members]
        native.put_backends(self.maps.backends.bytes, numbers, b"".join(entries))

    def _give_back(self, numbers: list[int], now: float) -> None:
        for number in numbers:
            self._numbers.give(number, 1, now)

    def _next_row(self, old: Held | None, frontend: Frontend) -> Row | None:
        """None: the one of its backends alone, since nothing is known of the flows of a new or a damaged frontend. With
        affinity on or off, flows fall into other slots than before."""
        if old is None or old.problem or not old.members or old.frontend(frontend.key).affinity != frontend.affinity:
            return None
        row = blocks.read_row(self.maps, old.entry)
        return rows.follow(row, old.members, frontend.backends, frontend.terminating)

    def _place(
        self, entry: Entry, members: _Members, numbers: array[int], row: Row | None, now: float, undo: ExitStack
    ) -> Entry:
        """Fill a new block; none without members."""
        if not entry.members:
            return entry
        offset = self._blocks.take(entry.length, now, page=abi.PAGE_WORDS if entry.prefers else 0)
        if offset is None:
            detail = f"lb_rows has no {4 * entry.length} bytes in a piece"
            raise TargetError("take a block", errno=errno.ENOSPC, detail=detail)
        undo.callback(self._blocks.give, offset, entry.length, now)
        placed = entry._replace(block=offset)
        blocks.write(self.maps, placed, members, numbers, row)
        return placed

    def _put_entry(self, key: FrontendKey, entry: Entry) -> None:
        raw = encode.frontend_key(key)
        self.shortcuts.forget(raw)
        self.maps.frontends.put(raw, entry.pack())

    def _serves(self, key: FrontendKey, *, serving: bool) -> bool:
        """Does any frontend of this VIP have backends, this one being as told?"""
        others = self._on_vip.get(key.vip, {})
        return serving or any(serves for other, serves in others.items() if other != key)

    def _put_vip(self, vip: IPAddress, serves: bool) -> None:
        raw, value = encode.address_bytes(vip), readback.vip_value(serves)
        self._sieve.add(raw)
        self.maps.vips.put(raw, value)
        self._vips[raw] = value

    def _restore_vip(self, vip: IPAddress, value: bytes | None) -> None:
        if value is None:
            self._remove_vip(vip)
        else:
            self._put_vip(vip, value == readback.vip_value(True))

    def _remove_vip(self, vip: IPAddress) -> None:
        raw = encode.address_bytes(vip)
        self.maps.vips.remove(raw)
        self._vips.pop(raw, None)
        self._sieve.remove(raw)

    # --- bookkeeping -----------------------------------------------------------------------------------------------

    def _current(self, key: FrontendKey) -> Held | None:
        """The frontend as it stands; if the index knew it otherwise, the index is made anew."""
        held = self.look(key)
        if held != self.frontends.get(key):
            self._read_all()
        return held

    def _switched(self, frontend: Frontend, old: Held | None, new: Held | None, now: float) -> None:
        """The entry is switched, or gone: give up what only the old one used, and bring the index up to date."""
        key = frontend.key
        self._decaps.switched(encode.frontend_key(key), encode.decap_entries(frontend), now)
        self._give_up(old, new, now)
        self._reader.doubt(key)
        self._hold(key, new)
        on_vip = self._on_vip.setdefault(key.vip, {})
        if new is not None:
            on_vip[key] = new.entry.serving > 0
            return
        on_vip.pop(key, None)
        if on_vip:
            self._put_vip(key.vip, any(on_vip.values()))
        else:
            del self._on_vip[key.vip]
            self._remove_vip(key.vip)

    def _give_up(self, old: Held | None, new: Held | None, now: float) -> None:
        """Block, set of sources and ids of ``old`` that ``new`` and the other frontends do not use."""
        if new is not None:
            self.sources.use(new.entry.sources)
            self._ids.update(zip(new.members, new.numbers, strict=True))
            self._users.update(new.members)
        if old is None:
            return
        self._give_block(old.entry, now)
        self.sources.give(old.entry.sources, now)
        self._users.subtract(old.members)
        for backend, number in zip(old.members, old.numbers, strict=True):
            if self._users[backend] <= 0:
                del self._users[backend]
                self._ids.pop(backend, None)
                self._retire(number)
                self._numbers.give(number, 1, now)

    def _give_block(self, entry: Entry, now: float) -> None:
        if entry.length and blocks.fits(self.maps, entry):
            self._blocks.give(entry.block, entry.length, now)

    def generation(self, number: int) -> int:
        """Of the backend that has this id now."""
        at = number * abi.BACKEND_BYTES + abi.GENERATION_AT
        found: int = abi.GENERATION.unpack_from(self.maps.backends.bytes, at)[0]
        return found

    def _retire(self, number: int) -> None:
        """Flow entries that name this id are void from now on. What else it says stays: a program that read the block a
        moment ago may be on its way here."""
        at = number * abi.BACKEND_BYTES + abi.GENERATION_AT
        view = self.maps.backends.bytes[at : at + abi.GENERATION.size]
        view[:] = abi.GENERATION.pack((self.generation(number) + 1) & 0xFFFFFFFF)


def coarse(now: float) -> int:
    """CLOCK_MONOTONIC seconds as the programs count them; 0 for what was before the start."""
    return max(0, int(now * 1e9)) >> abi.CLOCK_SHIFT
