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
void lr_rename(const uint16_t *from, uint32_t count, const uint16_t *names, uint16_t *to);
void lr_settle(const struct lr_row *old, const uint8_t *busy, int wait, uint16_t *slots);
void lr_narrow(const uint16_t *from, uint32_t count, uint8_t *to);
void lr_widen(const uint8_t *from, uint32_t count, uint16_t *to);
int lr_same_owners(const uint16_t *slots, const uint16_t *owners, uint32_t count);
struct lr_digested { const uint32_t *rows; const void *backends, *nodes; uint32_t backend_count; };
uint64_t lr_digest(const struct lr_digested *of, uint32_t block, uint32_t length, uint32_t members);
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
        _lib().lr_settle(row, _ffi.from_buffer("uint8_t[]", busy), wait, _halves(slots))
    return slots


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
    _lib().lr_narrow(_halves(slots), len(slots), _ffi.from_buffer("uint8_t[]", to))


def widen(data: memoryview) -> array[int]:
    """Read slots of 8 bits."""
    slots = array("H", bytes(2 * len(data)))
    _lib().lr_widen(_ffi.from_buffer("uint8_t[]", data), len(data), _halves(slots))
    return slots


def same_owners(slots: array[int], owners: array[int]) -> bool:
    """True if all slots have these owners, whether or not they are in transition. Both are of the same length."""
    return len(slots) == len(owners) and bool(_lib().lr_same_owners(_halves(slots), _halves(owners), len(slots)))


class Digests:
    """Sums over blocks, by which to see whether anything of them has changed. Holds on to the memory until closed."""

    def __init__(self, rows: memoryview, backends: memoryview, nodes: memoryview, backend_count: int) -> None:
        """``lb_rows``, ``lb_backends`` and ``lb_nodes``, as they are mapped."""
        self._rows = _ffi.from_buffer("uint32_t[]", rows)
        self._backends = _ffi.from_buffer(backends)
        self._nodes = _ffi.from_buffer(nodes)
        self._of = _ffi.new("struct lr_digested *", (self._rows, self._backends, self._nodes, backend_count))

    def of(self, block: int, length: int, members: int) -> int:
        """64 bits, for a block that lies within the rows (lengths in words), and all that it names."""
        found: int = _lib().lr_digest(self._of, block, length, members)
        return found

    def close(self) -> None:
        """Let go of the memory."""
        for memory in (self._rows, self._backends, self._nodes):
            _ffi.release(memory)
