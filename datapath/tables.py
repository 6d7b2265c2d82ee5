"""Writing frontends into the maps, in an order that is safe against packets and against death at any point.

A frontend is made complete where no packet looks (backends, row, decapsulation, VIP) and then switched by one update of
its entry; only after that is the old given up. Whoever dies in between leaves the old or the new frontend standing, and
leftovers that nothing points to: the next start takes them for free, or sweeps them away.

An index says which backend has which id and what is free. It is made from the maps, and made anew when they differ.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from ipaddress import IPv4Address

from announcer.model.errors import TargetError
from announcer.model.lb import Backend, Frontend, FrontendKey, MapUsage
from announcer.model.net import IPAddress
from datapath import abi, encode, maglev, readback
from datapath.extents import Extents
from datapath.limits import Limits
from datapath.maps import Maps
from datapath.readback import Contents, Held

#: Outer source address towards each remote backend, None where there is no route.
Sources = Mapping[Backend, IPAddress | None]


class Tables:
    """The maps as a set of frontends."""

    def __init__(self, maps: Maps, limits: Limits) -> None:
        self.maps = maps
        contents = readback.read(maps)
        slots, numbers = len(maps.rows.words), maps.backends.info.max_entries
        self._rows = Extents(slots, rest=limits.rest)
        self._numbers = Extents(numbers, rest=limits.rest)
        self._rebuild(contents)

    def _rebuild(self, contents: Contents) -> None:
        self.frontends = dict(contents.frontends)
        self._vips = set(contents.vips)
        self._decaps: dict[bytes, dict[bytes, bytes]] = {}
        for entry, value in contents.decaps.items():
            self._decaps.setdefault(encode.decap_frontend(entry), {})[entry] = value
        self._on_vip: Counter[IPAddress] = Counter(key.vip for key in contents.frontends)
        self._ids: dict[Backend, int] = {}
        self._users: Counter[Backend] = Counter()
        for held in contents.frontends.values():
            self._ids.update(held.ids)
            self._users.update(held.backends)
        rows = [(held.offset, held.length) for held in contents.frontends.values()]
        ids = [(number, 1) for held in contents.frontends.values() for _, number in held.ids]
        self._rows = self._rows.taken_by(rows)
        self._numbers = self._numbers.taken_by([(0, 1), *ids])  # id 0 means none

    def refresh(self) -> Contents:
        """Read everything back; where it differs from the index, believe the maps. Raises ``TargetError``."""
        contents = readback.read(self.maps)
        decaps = {entry: value for group in self._decaps.values() for entry, value in group.items()}
        if contents != Contents(self.frontends, frozenset(self._vips), decaps):
            self._rebuild(contents)
        return contents

    def sweep(self) -> None:
        """Remove what an earlier run left half made: VIPs and decapsulation entries that belong to no frontend."""
        wanted: set[bytes] = set()
        for key, held in self.frontends.items():
            wanted.update(encode.decap_entries(Frontend(key=key, backends=held.backends)))
        for group in self._decaps.values():
            for entry in set(group) - wanted:
                self.maps.decaps.remove(entry)
        for vip in self._vips - {key.vip.packed for key in self.frontends}:
            self.maps.vips.remove(vip)
        self.refresh()

    def backends_of(self, key: FrontendKey) -> tuple[Backend, ...]:
        """Backends of a frontend, none if there is no such frontend."""
        held = self.frontends.get(key)
        return held.backends if held else ()

    def unused(self, backends: Iterable[Backend]) -> list[Backend]:
        """Those that no frontend uses."""
        return [backend for backend in backends if self._users[backend] <= 0]

    def remote_backends(self) -> list[Backend]:
        """Backends on other nodes that some frontend uses."""
        return [backend for backend in self._users if not backend.local]

    def usage(self) -> dict[str, MapUsage]:
        """How full the maps are; ``lb_rows`` in slots."""
        slots, numbers = self._rows.size, self._numbers.size
        return {
            "lb_frontends": MapUsage(len(self.frontends), self.maps.frontends.info.max_entries),
            "lb_vips": MapUsage(len(self._vips), self.maps.vips.info.max_entries),
            "lb_rows": MapUsage(slots - self._rows.free(), slots),
            "lb_backends": MapUsage(numbers - self._numbers.free() - 1, numbers),
            "lb_decaps": MapUsage(sum(map(len, self._decaps.values())), self.maps.decaps.info.max_entries),
        }

    def program(self, frontend: Frontend, sources: Sources, now: float) -> None:
        """Make the maps hold this frontend. Raises ``TargetError``; then the old one still stands."""
        key, raw_key = frontend.key, encode.frontend_key(frontend.key)
        old = self._current(key)
        with ExitStack() as undo:
            ids = tuple((backend, self._backend(backend, sources, now, undo)) for backend in frontend.backends)
            if old is not None and not old.problem and old.ids == ids:
                undo.pop_all()
                return
            offset, length = self._row(ids, now, undo)
            for entry, value in encode.decap_entries(frontend).items():
                if self.maps.decaps.get(entry) is None:
                    undo.callback(self.maps.decaps.remove, entry)
                self.maps.decaps.put(entry, value)
            if self.maps.vips.get(key.vip.packed) is None:
                undo.callback(self.maps.vips.remove, key.vip.packed)
                self.maps.vips.put(key.vip.packed, bytes(4))
            self.maps.frontends.put(raw_key, abi.ROW.pack(offset, length))
            undo.pop_all()
        self._switched(frontend, old, Held(offset, length, ids), now)
        if readback.read_one(self.maps, key) != Held(offset, length, ids):
            raise TargetError(f"read back {key}", detail="it is not what was written")

    def remove(self, key: FrontendKey, now: float) -> None:
        """Remove a frontend, then what nothing uses any more. One that is not there is no error."""
        old = self._current(key)
        if old is not None:
            self.maps.frontends.remove(encode.frontend_key(key))
        self._switched(Frontend(key=key), old, None, now)

    def _backend(self, backend: Backend, sources: Sources, now: float, undo: ExitStack) -> int:
        """Its id, with an entry that is right."""
        number = self._ids.get(backend)
        if number is None:
            number = self._numbers.take(1, now)
            if number is None:
                raise TargetError("take a backend id", errno=errno.ENOSPC, detail=f"lb_backends holds {len(self._ids)}")
            undo.callback(self._numbers.give, number, 1, now)
        source = sources.get(backend)
        entry = encode.backend_entry(backend, source if isinstance(source, IPv4Address) else None)
        view = self.maps.backends.bytes[number * abi.BACKEND.size : (number + 1) * abi.BACKEND.size]
        if view != entry:
            view[:] = entry
        return number

    def _row(self, ids: tuple[tuple[Backend, int], ...], now: float, undo: ExitStack) -> tuple[int, int]:
        """Fill a new row; (0, 0) for no backends."""
        length = maglev.row_length(len(ids))
        if length == 0:
            return 0, 0
        offset = self._rows.take(length, now)
        if offset is None:
            raise TargetError("take a row", errno=errno.ENOSPC, detail=f"lb_rows has no {length} slots in a piece")
        undo.callback(self._rows.give, offset, length, now)
        self.maps.rows.words[offset : offset + length] = memoryview(readback.slots(ids))
        return offset, length

    def _current(self, key: FrontendKey) -> Held | None:
        """The frontend as it stands; if the index knew it otherwise, the index is made anew."""
        held = readback.read_one(self.maps, key)
        if held != self.frontends.get(key):
            self.refresh()
        return held

    def _switched(self, frontend: Frontend, old: Held | None, new: Held | None, now: float) -> None:
        """The entry is switched, or gone: give up what only the old one used, and bring the index up to date."""
        key, raw_key = frontend.key, encode.frontend_key(frontend.key)
        wanted = encode.decap_entries(frontend)
        for entry in set(self._decaps.pop(raw_key, {})) - set(wanted):
            self.maps.decaps.remove(entry)
        if wanted:
            self._decaps[raw_key] = wanted
        self._give_up(old, new, now)
        if new is not None:
            self._on_vip[key.vip] += key not in self.frontends
            self._vips.add(key.vip.packed)
            self.frontends[key] = new
            return
        self._on_vip[key.vip] -= self.frontends.pop(key, None) is not None
        if self._on_vip[key.vip] <= 0:
            self.maps.vips.remove(key.vip.packed)
            self._vips.discard(key.vip.packed)

    def _give_up(self, old: Held | None, new: Held | None, now: float) -> None:
        """Row and ids of ``old`` that ``new`` and the other frontends do not use."""
        if new is not None:
            self._ids.update(new.ids)
            self._users.update(new.backends)
        if old is None:
            return
        if old.length and old.offset + old.length <= self._rows.size:
            self._rows.give(old.offset, old.length, now)
        self._users.subtract(old.backends)
        for backend, number in old.ids:
            if self._users[backend] <= 0:
                del self._users[backend]
                self._ids.pop(backend, None)
                self._numbers.give(number, 1, now)
