"""Sets of clients that are let in (``bpf/lb_source.h``): prefixes in a trie, by the number of their set.

A set that a frontend names is never changed. Other ranges are another set: it is written where no frontend looks,
becomes valid as a whole with the frontend's entry, and only when no program can still be on its way with the old entry
is the old set taken out. So at no moment is a client refused that both allow, nor one let in that neither does.

Frontends with equal ranges share a set, as the ports of one Service do.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from contextlib import ExitStack

from announcer.model.net import IPNetwork
from datapath import encode
from datapath.maps import HashMap

#: Sorted and disjoint, as in ``Frontend.source_ranges``.
Ranges = tuple[IPNetwork, ...]

_LAST = 0xFFFFFFFF


class SourceSets:
    """The sets in the kernel, with an index that is made from them."""

    def __init__(self, trie: HashMap, *, rest: float) -> None:
        """``rest``: seconds before a set that nobody names any more is taken out."""
        self._trie = trie
        self._rest = rest
        self._raw: dict[bytes, bytes] | None = None
        self._sets: dict[int, Ranges] = {}
        self._numbers: dict[Ranges, int] = {}
        self._users: Counter[int] = Counter()
        self._resting: deque[tuple[float, int]] = deque()
        self._latest = 0

    def read(self) -> bool:
        """Make the index of what stands in the kernel. False: nothing has changed. Raises ``TargetError``."""
        raw = self._trie.dump()
        if raw == self._raw:
            return False
        found: dict[int, list[IPNetwork]] = {}
        for key, value in raw.items():
            number, prefix = encode.decode_source_key(key)
            found.setdefault(number, []).append(prefix)
            right = encode.source_entry(number, prefix)[1]
            if value != right:  # packets do not mind
                self._trie.put(key, right)
        self._raw = raw
        self._sets = {number: tuple(sorted(prefixes, key=_order)) for number, prefixes in found.items()}
        self._index()
        return True

    def used_by(self, numbers: Iterable[int]) -> None:
        """Say which sets the frontends name, each as often as it is named; all others are taken out soon."""
        self._users = Counter(number for number in numbers if number)
        resting = {number for _, number in self._resting}
        self._resting.extendleft((0.0, number) for number in self._sets.keys() - self._users.keys() - resting)
        self._latest = max([self._latest, *self._sets, *self._users])
        self._index()

    def ranges(self, number: int) -> Ranges:
        """The prefixes of a set, as they were read last."""
        return self._sets.get(number, ())

    def verified(self, number: int) -> Ranges:
        """Those of them that are in the kernel now. Raises ``TargetError``."""
        entries = {prefix: encode.source_entry(number, prefix) for prefix in self.ranges(number)}
        return tuple(prefix for prefix, (key, value) in entries.items() if self._trie.get(key) == value)

    def entries(self) -> int:
        """How many prefixes there are in all."""
        return sum(map(len, self._sets.values()))

    def take(self, ranges: Ranges | None, undo: ExitStack) -> int:
        """The number of the set of these ranges, complete; 0 for None. Raises ``TargetError``: the trie is full."""
        if ranges is None:
            return 0
        number = self._numbers.get(ranges)
        if number is not None and self.verified(number) == ranges:
            return number
        number = self._new_number()
        undo.callback(self._take_out, number)
        self._raw = None
        self._sets[number] = ()
        for prefix in ranges:
            self._trie.put(*encode.source_entry(number, prefix))
            self._sets[number] += (prefix,)
        self._numbers[ranges] = number
        return number

    def use(self, number: int) -> None:
        """A frontend names it from now on."""
        if number:
            self._users[number] += 1

    def give(self, number: int, now: float) -> None:
        """A frontend does not name it any more; ``now``: CLOCK_MONOTONIC seconds."""
        if not number:
            return
        self._users[number] -= 1
        if self._users[number] <= 0:
            del self._users[number]
            ranges = self.ranges(number)
            if self._numbers.get(ranges) == number:
                del self._numbers[ranges]
            self._resting.append((now + self._rest, number))

    def tend(self, now: float) -> None:
        """Take out what has rested. Raises ``TargetError``."""
        while self._resting and self._resting[0][0] <= now:
            self._take_out(self._resting[0][1])
            self._resting.popleft()

    def _take_out(self, number: int) -> None:
        ranges = self.ranges(number)
        if self._numbers.get(ranges) == number:
            del self._numbers[ranges]
        self._raw = None
        for prefix in ranges:
            self._trie.remove(encode.source_entry(number, prefix)[0])
        self._sets.pop(number, None)

    def _new_number(self) -> int:
        number = self._latest % _LAST + 1
        while number in self._sets or self._users[number]:
            number = number % _LAST + 1
        self._latest = number
        return number

    def _index(self) -> None:
        """Only a set that a frontend names may be shared: others are on their way out."""
        self._numbers = {self._sets[number]: number for number in self._users if number in self._sets}


def _order(prefix: IPNetwork) -> tuple[int, int]:
    return int(prefix.network_address), prefix.prefixlen
