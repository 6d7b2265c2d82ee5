"""Aggregates of which unassigned addresses are dropped (``bpf/lb_guard.h``): the trie as a set of prefixes.

Read back, never remembered.
"""

from __future__ import annotations

from announcer.model.net import IPNetwork
from datapath import encode
from datapath.maps import HashMap

_VALUE = bytes(4)


class Guards:
    """The set of guarded prefixes in the kernel."""

    def __init__(self, trie: HashMap) -> None:
        self._trie = trie

    def read(self) -> frozenset[IPNetwork]:
        """Raises ``TargetError``."""
        return frozenset(map(encode.decode_guard_key, self._trie.dump()))

    def add(self, prefix: IPNetwork) -> None:
        """Idempotent. Raises ``TargetError``: the map is full."""
        self._trie.put(encode.guard_key(prefix), _VALUE)

    def remove(self, prefix: IPNetwork) -> None:
        """Idempotent. Raises ``TargetError``."""
        self._trie.remove(encode.guard_key(prefix))
