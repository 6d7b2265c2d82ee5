"""What stands in the maps, and whether it is right in itself.

Backends are found as the program finds them: from the frontend's row. A row is right if it is slot for slot what Maglev
says for just the backends that it names; so one damaged slot is enough to be noticed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import IPAddress
from datapath import abi, encode, maglev
from datapath.maps import Maps

_Get = Callable[[bytes], bytes | None]


class Held(NamedTuple):
    """A frontend as it stands in the maps. ``ids`` by backend, sorted; ``problem`` empty if it is right in itself."""

    offset: int = 0
    length: int = 0
    ids: tuple[tuple[Backend, int], ...] = ()
    problem: str = ""

    @property
    def backends(self) -> tuple[Backend, ...]:
        """Sorted, as in ``Frontend``."""
        return tuple(backend for backend, _ in self.ids)


class Contents(NamedTuple):
    """All of the maps. ``vips`` and ``decaps`` as raw entries."""

    frontends: dict[FrontendKey, Held]
    vips: frozenset[bytes]
    decaps: dict[bytes, bytes]


def read(maps: Maps) -> Contents:
    """Everything. Raises ``TargetError``."""
    vips, decaps = maps.vips.dump(), maps.decaps.dump()
    frontends = {}
    for raw_key, raw_row in maps.frontends.dump().items():
        key = encode.decode_frontend_key(raw_key)
        frontends[key] = _held(maps, key, raw_row, vips.get, decaps.get)
    return Contents(frontends, frozenset(vips), decaps)


def read_one(maps: Maps, key: FrontendKey) -> Held | None:
    """One frontend, None if there is no entry. Raises ``TargetError``."""
    raw_row = maps.frontends.get(encode.frontend_key(key))
    return None if raw_row is None else _held(maps, key, raw_row, maps.vips.get, maps.decaps.get)


def _held(maps: Maps, key: FrontendKey, raw_row: bytes, vip: _Get, decap: _Get) -> Held:
    offset, length = abi.ROW.unpack(raw_row)
    ids, problem = _read_row(maps, offset, length)
    if not problem and vip(key.vip.packed) is None:
        problem = f"no VIP entry for {key.vip}"
    if not problem:
        wanted = encode.decap_entries(Frontend(key=key, backends=tuple(backend for backend, _ in ids)))
        if any(decap(entry) != value for entry, value in wanted.items()):
            problem = "a decapsulation entry of a local backend is missing or wrong"
    return Held(offset, length, ids, problem)


def _read_row(maps: Maps, offset: int, length: int) -> tuple[tuple[tuple[Backend, int], ...], str]:
    if length == 0:
        return (), ""
    if offset + length > len(maps.rows.words):
        return (), "the row lies outside of lb_rows"
    row = maps.rows.words[offset : offset + length]
    ids: dict[Backend, int] = {}
    problem = ""
    for number in sorted(set(row)):
        entry = backend_at(maps, number)
        if entry is None:
            problem = f"the row names backend {number}, which is not there"
        elif entry[0] in ids:
            problem = f"backends {ids[entry[0]]} and {number} are the same"
        else:
            ids[entry[0]] = number
    found = tuple(sorted(ids.items()))
    if not problem and maglev.row_length(len(found)) != length:
        problem = f"the row has {length} slots for {len(found)} backends"
    if not problem and row.tobytes() != slots(found).tobytes():
        problem = "the row is not what Maglev says for its backends"
    return found, problem


def slots(ids: tuple[tuple[Backend, int], ...]) -> array[int]:
    """The row of these backends: an id per slot."""
    numbers = [number for _, number in ids]
    return array("I", map(numbers.__getitem__, maglev.owners([backend for backend, _ in ids])))


def backend_at(maps: Maps, number: int) -> tuple[Backend, IPAddress | None] | None:
    """The backend of this id and its outer source address; None if there is none."""
    if not 0 < number < maps.backends.info.max_entries:
        return None
    size = abi.BACKEND.size
    return encode.decode_backend_entry(bytes(maps.backends.bytes[number * size : (number + 1) * size]))
