"""The loops over slots, in C (``rows.c``, ``build/librows.so``): arrays in, arrays out. Pure.

Positions are ``array("H")``, as in ``rows``. The functions take no lock and touch nothing but what they are given.
"""

from __future__ import annotations

import contextlib
import functools
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cffi

from announcer.model.errors import TargetError

_PATH = Path(__file__).parent / "build" / "librows.so"

_ffi = cffi.FFI()
_ffi.cdef(
    """
int lr_maglev(const uint32_t *start, const uint32_t *skip, uint32_t owners, uint32_t bits, uint16_t *slots);
int lr_rendezvous(const uint32_t *start, const uint32_t *skip, uint32_t owners, uint32_t bits, const uint32_t *ranks,
                  uint16_t *slots);
struct lr_row { const uint16_t *slots, *previous; uint32_t bits, previous_bits; };
int lr_follow(const struct lr_row *old, const uint16_t *moved, uint32_t members, uint16_t *slots, uint32_t bits,
              uint16_t *previous, uint32_t fine_bits);
struct lr_owners { const uint16_t *slots; const uint32_t *preferences; const uint16_t *ranks; uint32_t bits, members; };
void lr_aim(const struct lr_owners *of, uint64_t base, uint32_t first, uint32_t count, uint32_t wanted,
            uint16_t *ports);
void lr_rename(const uint16_t *from, uint32_t count, const uint16_t *names, uint16_t *to);
void lr_settle(const struct lr_row *old, const uint8_t *busy, int wait, uint16_t *slots);
void lr_narrow(const uint16_t *from, uint32_t count, uint8_t *to);
void lr_widen(const uint8_t *from, uint32_t count, uint16_t *to);
void lr_put_backends(void *backends, const uint32_t *numbers, uint32_t count, const uint8_t *entries);
int lr_same_owners(const uint16_t *slots, const uint16_t *owners, uint32_t count);
uint64_t lr_sum(const uint32_t *keys, uint32_t key_size, const uint32_t *values, uint32_t value_size, uint32_t count);
struct lb_shortcut { uint64_t words[8]; };
void lr_shortcut_put(struct lb_shortcut *line, const void *key, const void *frontend, const uint32_t *rows,
                     uint32_t length);
void lr_shortcuts_clear(struct lb_shortcut *lines, uint32_t count);
uint64_t lr_shortcuts_sum(const struct lb_shortcut *lines, uint32_t first, uint32_t count);
struct lr_digested { const uint32_t *rows; const void *backends, *nodes; uint32_t backend_count; };
struct lr_watched { uint32_t block, length, members, reserved; uint64_t digest; };
uint64_t lr_digest(const struct lr_digested *of, const struct lr_watched *block);
uint32_t lr_differing(const struct lr_digested *of, const struct lr_watched *blocks, uint32_t count, uint32_t *at,
                      uint64_t bytes, uint32_t *found, uint32_t room);
"""
)


@functools.cache
def _lib() -> Any:
    try:
        return _ffi.dlopen(str(_PATH))
    except OSError as error:
        raise TargetError(f"load {_PATH}", detail=f"{error}; run `make -C datapath`", retry=False) from error


def _words(values: array[int]) -> Any:
    return _ffi.from_buffer("uint32_t[]", values)


def _halves(values: array[int]) -> Any:
    return _ffi.from_buffer("uint16_t[]", values)


def _bytes(values: Any) -> Any:
    return _ffi.from_buffer("uint8_t[]", values)


def _slots(bits: int) -> array[int]:
    return array("H", bytes(2 << bits))


def maglev(preferences: Sequence[tuple[int, int]], bits: int) -> array[int]:
    """For each of ``1 << bits`` slots the position of its owner in ``preferences`` (offset and odd skip).

    There are fewer than 0xFFFF of them, and at least one. Raises ``MemoryError``.
    """
    starts, skips = (array("I", column) for column in zip(*preferences, strict=True))
    slots = _slots(bits)
    if _lib().lr_maglev(_words(starts), _words(skips), len(starts), bits, _halves(slots)):
        raise MemoryError
    return slots


def rendezvous(preferences: Sequence[tuple[int, int]], bits: int, ranks: array[int]) -> array[int]:
    """The same by rank: an owner gives its first slot ``ranks[offset]``, its next ``ranks[offset + skip]``, ..."""
    starts, skips = (array("I", column) for column in zip(*preferences, strict=True))
    slots = _slots(bits)
    _lib().lr_rendezvous(_words(starts), _words(skips), len(starts), bits, _words(ranks), _halves(slots))
    return slots


def follow(
    old: tuple[int, array[int], int, array[int]], moved: array[int], slots: array[int], bits: int, fine_bits: int
) -> tuple[array[int], bool]:
    """Mark the slots that go into transition. Returns who owned each before, and whether there are any.

    ``old``: a ``rows.Row``. ``moved``: where its members are now. ``slots``: the owners to come; they are changed.
    ``fine_bits``: the longest of all, which is the length of what is returned.
    """
    previous = _slots(fine_bits)
    with _row(old) as row:
        changed = _lib().lr_follow(row, _halves(moved), len(moved), _halves(slots), bits, _halves(previous), fine_bits)
    return previous, changed > 0


def settled(old: tuple[int, array[int], int, array[int]], busy: bytearray, *, wait: bool) -> array[int]:
    """The slots of a ``rows.Row`` in transition without the flags that nothing needs.

    ``busy``: 1 for each slot with a live flow of another than its owner. ``wait`` for previous owners all the same.
    """
    slots = _slots(old[0])
    with _row(old) as row:
        _lib().lr_settle(row, _bytes(busy), wait, _halves(slots))
    return slots


def aim_by_slots(slots: array[int], bits: int, base: int, ports: range, wanted: int) -> array[int]:
    """For each of the first ``wanted`` positions the first of the client's ``ports`` (0 is none of them) from which a
    flow falls into a slot that it owns, 0 if there is none. ``base``: ``flow.hash_base``; no slot is in transition.
    """
    owners: Any = _ffi.new("struct lr_owners *", {"slots": _halves(slots), "bits": bits})
    return _aimed(owners, base, ports, wanted)


def aim_by_preferences(
    preferences: array[int], ranks: bytes, bits: int, base: int, ports: range, wanted: int
) -> array[int]:
    """The same where preferences (:func:`rendezvous.word`) say who owns a slot."""
    held = (_words(preferences), _ffi.from_buffer("uint16_t[]", ranks))
    owners: Any = _ffi.new("struct lr_owners *", (_ffi.NULL, *held, bits, len(preferences)))
    return _aimed(owners, base, ports, wanted)


def _aimed(owners: Any, base: int, ports: range, wanted: int) -> array[int]:
    found = array("H", bytes(2 * wanted))
    _lib().lr_aim(owners, base, ports.start, len(ports), wanted, _halves(found))
    return found


def renamed(slots: array[int], names: array[int]) -> array[int]:
    """Each slot's owner by another name."""
    made = array("H", bytes(2 * len(slots)))
    _lib().lr_rename(_halves(slots), len(slots), _halves(names), _halves(made))
    return made


@contextlib.contextmanager
def _row(row: tuple[int, array[int], int, array[int]]) -> Iterator[Any]:
    """``struct lr_row``, of which cffi does not keep the arrays alive."""
    bits, slots, previous_bits, previous = row
    held = (_halves(slots), _halves(previous))
    made: Any = _ffi.new("struct lr_row *")
    made.slots, made.previous, made.bits, made.previous_bits = *held, bits, previous_bits
    yield made
    del held


def narrow(slots: array[int], to: memoryview) -> None:
    """Write slots of 8 bits."""
    _lib().lr_narrow(_halves(slots), len(slots), _bytes(to))


def widen(data: memoryview) -> array[int]:
    """Read slots of 8 bits."""
    slots = array("H", bytes(2 * len(data)))
    _lib().lr_widen(_bytes(data), len(data), _halves(slots))
    return slots


def put_backends(backends: memoryview, numbers: array[int], entries: bytes) -> None:
    """Let the entries of these ids in ``lb_backends`` be right: all of them that is ours, but for their generation.

    ``entries``: one :func:`encode.backend_entry` behind the other. The next hop that the program keeps of an entry is
    forgotten if that says something new.
    """
    _lib().lr_put_backends(_ffi.from_buffer(backends), _words(numbers), len(numbers), _bytes(entries))


def same_owners(slots: array[int], owners: array[int]) -> bool:
    """True if all slots have these owners, whether or not they are in transition. Both are of the same length."""
    return len(slots) == len(owners) and bool(_lib().lr_same_owners(_halves(slots), _halves(owners), len(slots)))


def entries_sum(keys: bytes, key_size: int, values: bytes, value_size: int) -> int:
    """What entries of a map add up to, as the program ``lb_sum`` adds them (``bpf/lb_sum.h``): 64 bits."""
    at = (_ffi.from_buffer("uint32_t[]", keys), key_size, _ffi.from_buffer("uint32_t[]", values), value_size)
    found: int = _lib().lr_sum(*at, len(keys) // key_size)
    return found


class Lines:
    """``lb_shortcuts``: a line for each place, which is a number. Holds on to the memory until closed."""

    def __init__(self, memory: memoryview, rows: memoryview) -> None:
        """The map, and ``lb_rows``, as they are mapped."""
        self._lines: Any = _ffi.from_buffer("struct lb_shortcut[]", memory)
        self._rows: Any = _ffi.from_buffer("uint32_t[]", rows)

    def close(self) -> None:
        """Let go of the memory."""
        _ffi.release(self._lines)
        _ffi.release(self._rows)

    def put(self, place: int, key: bytes, value: bytes) -> None:
        """Let the line say what ``lb_frontends`` and the rows say; no program may be reading it."""
        line = _ffi.addressof(self._lines, place)
        _lib().lr_shortcut_put(line, key, value, self._rows, len(self._rows))

    def clear(self, place: int) -> None:
        """Let the line say nothing."""
        _lib().lr_shortcuts_clear(_ffi.addressof(self._lines, place), 1)

    def clear_all(self) -> None:
        """Let no line say anything."""
        _lib().lr_shortcuts_clear(self._lines, len(self._lines))

    def sum(self, count: int) -> int:
        """What the first ``count`` lines add up to, those that say something: 64 bits."""
        found: int = _lib().lr_shortcuts_sum(self._lines, 0, count)
        return found

    def sum_of(self, place: int) -> int:
        """The part of one of them; 0 if it says nothing."""
        found: int = _lib().lr_shortcuts_sum(_ffi.addressof(self._lines, place), place, 1)
        return found


class Watch:
    """Blocks, by digests of which it is seen whether anything of them has changed. Each has a slot, which is a number.

    Holds on to the memory until closed.
    """

    def __init__(self, rows: memoryview, backends: memoryview, nodes: memoryview, backend_count: int) -> None:
        """``lb_rows``, ``lb_backends`` and ``lb_nodes``, as they are mapped."""
        self._memory = [_ffi.from_buffer("uint32_t[]", rows), _ffi.from_buffer(backends), _ffi.from_buffer(nodes)]
        self._of = _ffi.new("struct lr_digested *", (*self._memory, backend_count))
        self._blocks: Any = _ffi.new("struct lr_watched[]", 64)
        self._free: list[int] = []
        self._count = 0
        self._at = _ffi.new("uint32_t *")
        self._found = _ffi.new("uint32_t[]", 64)

    def close(self) -> None:
        """Let go of the memory."""
        for memory in self._memory:
            _ffi.release(memory)

    def take(self) -> int:
        """A slot in which no block is watched yet."""
        if self._free:
            return self._free.pop()
        if self._count == len(self._blocks):
            grown: Any = _ffi.new("struct lr_watched[]", 2 * self._count)
            _ffi.memmove(grown, self._blocks, _ffi.sizeof(self._blocks))
            self._blocks = grown
        self._count += 1
        return self._count - 1

    def give(self, slot: int) -> None:
        """Watch nothing there any more."""
        self._blocks[slot].members = self._blocks[slot].length = 0
        self._free.append(slot)

    def begin(self, slot: int, block: int, length: int, members: int) -> None:
        """Watch the block (offset and length in words of 4 bytes, within the rows) and all that it names, as it is now.

        Without members nothing is watched.
        """
        of = self._blocks[slot]
        of.block, of.length, of.members = block, length, members
        of.digest = _lib().lr_digest(self._of, _ffi.addressof(of)) if members else 0

    def same(self, slot: int) -> bool:
        """Has nothing of it changed since?"""
        of = self._blocks[slot]
        return not of.members or bool(_lib().lr_digest(self._of, _ffi.addressof(of)) == of.digest)

    def differing(self) -> set[int]:
        """Of all: where something has changed."""
        self._at[0] = 0
        return self.some_differing(1 << 62)

    def some_differing(self, size: int) -> set[int]:
        """The same, of those behind the last ones that were looked at: up to so many bytes, or to the end."""
        slots: set[int] = set()
        while True:
            found = _lib().lr_differing(
                self._of, self._blocks, self._count, self._at, size, self._found, len(self._found)
            )
            slots.update(self._found[0:found])
            if self._at[0] == self._count:
                self._at[0] = 0
                return slots
            if found < len(self._found):
                return slots
