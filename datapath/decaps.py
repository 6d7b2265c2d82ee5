"""What other nodes may send to backends of this node (``bpf/lb_decap.h``), by frontend.

Nodes learn of a change one after the other. One that is a moment behind still sends to a backend that this node has
just given up, and the Pod is often still there to answer: so entries stay for some seconds longer. Address and port of
the VIP and the address of the backend are the key, so nothing else can be meant, unless another Pod gets the address
within that time.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack

from announcer.model.errors import TargetError
from datapath import encode
from datapath.maps import HashMap

_FULL = (errno.E2BIG, errno.ENOSPC)


class Decaps:
    """The entries in the kernel, with an index that is made from them. Keys and values are bytes."""

    def __init__(self, table: HashMap, *, linger: float) -> None:
        """``linger``: seconds for which an entry stays that no frontend wants any more."""
        self._table = table
        self._linger = linger
        self._by_frontend: dict[bytes, dict[bytes, bytes]] = {}
        self._lingering: dict[bytes, tuple[bytes, float]] = {}

    def follow(self, entries: Mapping[bytes, bytes]) -> None:
        """These are in the kernel: believe it."""
        self._lingering = {entry: kept for entry, kept in self._lingering.items() if entry in entries}
        self._by_frontend = {}
        for entry, value in entries.items():
            if entry not in self._lingering:
                self._by_frontend.setdefault(encode.decap_frontend(entry), {})[entry] = value

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._by_frontend.values())) + len(self._lingering)

    def entries(self) -> dict[bytes, bytes]:
        """All of them, as the index has them."""
        wanted = {entry: value for group in self._by_frontend.values() for entry, value in group.items()}
        return wanted | {entry: value for entry, (value, _) in self._lingering.items()}

    def of(self, frontend: bytes) -> Mapping[bytes, bytes]:
        """The entries that this frontend (``struct lb_frontend_key``) wants, as the index has them."""
        return self._by_frontend.get(frontend, {})

    def lingering(self) -> AbstractSet[bytes]:
        """The entries that no frontend wants any more."""
        return self._lingering.keys()

    def put(self, wanted: Mapping[bytes, bytes], undo: ExitStack) -> None:
        """Let the kernel have these. Raises ``TargetError``: the map is full."""
        for entry, value in wanted.items():
            if self._table.get(entry) is None:
                undo.callback(self._table.remove, entry)
            try:
                self._table.put(entry, value)
            except TargetError as error:
                if error.errno not in _FULL or not self._lingering:
                    raise
                self._end(list(self._lingering))
                self._table.put(entry, value)

    def switched(self, frontend: bytes, wanted: dict[bytes, bytes], now: float) -> None:
        """Packets of this frontend (``struct lb_frontend_key``) go to these from now on (CLOCK_MONOTONIC seconds)."""
        before = self._by_frontend.pop(frontend, {})
        for entry in before.keys() - wanted.keys():
            self._lingering[entry] = (before[entry], now + self._linger)
        for entry in wanted:
            self._lingering.pop(entry, None)
        if wanted:
            self._by_frontend[frontend] = wanted
        self.tend(now)

    def keep_only(self, wanted: AbstractSet[bytes]) -> None:
        """Remove all others at once."""
        for entry in self.entries().keys() - wanted:
            self._table.remove(entry)

    def tend(self, now: float) -> None:
        """Remove what has lingered for long enough. Raises ``TargetError``."""
        self._end([entry for entry, (_, until) in self._lingering.items() if until <= now])

    def _end(self, entries: list[bytes]) -> None:
        for entry in entries:
            self._table.remove(entry)
            del self._lingering[entry]
