"""Remarks, and walking YAML that may have any shape."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from announcer.yamltree import Node, PathPart, YamlList, YamlMap, YamlText, path_text

#: Beyond this many the rest is the same again.
MAX_REMARKS = 200


class Remark(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Something that an original saw or did differently. ``line`` counts from 1; ``path`` is the key path."""

    line: int
    path: str
    text: str


class Notes:
    """Collects remarks."""

    def __init__(self) -> None:
        self.found: list[Remark] = []

    @property
    def full(self) -> bool:
        """True when looking on is pointless."""
        return len(self.found) >= MAX_REMARKS

    def add(self, here: Here, text: str) -> None:
        """Remark ``text`` about a place, up to the limit."""
        if text and not self.full:
            self.found.append(Remark(line=here.node.line, path=path_text(here.path), text=text))


class Here(msgspec.Struct, frozen=True):
    """A node and the path to it. Whatever is of another kind than was asked for is simply not there."""

    node: Node
    path: tuple[PathPart, ...] = ()

    def without(self, key: str) -> Here:
        """The place where ``key`` would stand."""
        return Here(self.node, (*self.path, key))

    def get(self, key: str) -> Here | None:
        """The value of ``key``."""
        found = self.node.get(key) if isinstance(self.node, YamlMap) else None
        return None if found is None else Here(found, (*self.path, key))

    def items(self, key: str) -> Iterator[Here]:
        """The items of the list under ``key``."""
        below = self.get(key)
        if below is not None and isinstance(below.node, YamlList):
            for index, item in enumerate(below.node.items):
                yield Here(item, (*below.path, index))

    def each_key(self) -> Iterator[Here]:
        """The keys, each at its own place."""
        if isinstance(self.node, YamlMap):
            for key, _ in self.node.entries:
                yield Here(key, (*self.path, key.text))

    def text(self, key: str = "") -> str:
        """The value of ``key`` (or this one) as it is written; empty if there is none."""
        below = self.get(key) if key else self
        return below.node.text if below is not None and isinstance(below.node, YamlText) else ""

    def true(self, key: str) -> bool:
        """True if ``key`` says so."""
        return self.text(key).lower() in ("true", "yes", "on", "y")
