"""Aggregates of which unassigned addresses are dropped (``bpf/lb_guard.h``): the trie as a set of prefixes.

Read back, never remembered.
"""

from __future__ import annotations

from announcer.model.net import IPNetwork
from datapath import encode, sieve
from datapath.maps import HashMap, MappedArray

_VALUE = bytes(4)


class Guards:
    """The set of guarded prefixes in the kernel."""

    def __init__(self, trie: HashMap, first_look: MappedArray) -> None:
        """``first_look``: ``lb_sieve``, by which no packet passes while there are guards. Raises ``TargetError``."""
        self._trie = trie
        self._first_look = first_look
        self.read()

    def read(self) -> frozenset[IPNetwork]:
        """Raises ``TargetError``."""
        found = frozenset(map(encode.decode_guard_key, self._trie.dump()))
        sieve.guarded(self._first_look, len(found))
        return found

    def add(self, prefix: IPNetwork) -> None:
        """Idempotent. Raises ``TargetError``: the map is full."""
        sieve.guarded(self._first_look, 1)
        self._trie.put(encode.guard_key(prefix), _VALUE)

    def remove(self, prefix: IPNetwork) -> None:
        """Idempotent. Raises ``TargetError``."""
        self._trie.remove(encode.guard_key(prefix))
        self.read()
