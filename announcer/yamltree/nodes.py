"""The nodes of a YAML document, and what can be asked of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

PathPart: TypeAlias = str | int


class YamlText(msgspec.Struct, frozen=True, kw_only=True):
    """A scalar, uninterpreted. ``style``: empty for a plain one, else the character that introduced it (``"'|>``)."""

    text: str
    style: str = ""
    line: int
    column: int

    @property
    def plain(self) -> bool:
        """True if nothing says that this is text: YAML would look for a number, a truth value or null in it."""
        return not self.style


class YamlList(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence. ``size`` counts all nodes below and itself with aliases written out, ``height`` the levels."""

    items: tuple[Node, ...]
    line: int
    column: int
    size: int = 1
    height: int = 1


class YamlMap(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping in the order of the text, keys unique, merge keys written out. ``size``/``height``: see YamlList."""

    entries: tuple[tuple[YamlText, Node], ...]
    line: int
    column: int
    size: int = 1
    height: int = 1

    def get(self, key: str) -> Node | None:
        """The value of ``key``; None if it is absent."""
        return next((value for name, value in self.entries if name.text == key), None)


Node: TypeAlias = YamlText | YamlList | YamlMap


class Document(msgspec.Struct, frozen=True):
    """One document of a stream."""

    root: Node


_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
#: Twenty characters hold every 64-bit number; without a bound, int() of a long run of digits raises.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,19})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,19})(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,3})?")


def is_null(node: Node) -> bool:
    """True for an absent value: ``key:``, ``~`` or ``null``."""
    return isinstance(node, YamlText) and node.plain and node.text in _NULLS


def plain_value(node: Node) -> Any:
    """``node`` as dicts, lists, strings, numbers, truth values and None, by the rules of JSON (YAML 1.2 core schema).

    What only YAML 1.1 takes for a number or a truth value (``no``, ``0123``, ``12:30``) stays text.
    """
    if isinstance(node, YamlMap):
        return {key.text: plain_value(value) for key, value in node.entries}
    if isinstance(node, YamlList):
        return [plain_value(item) for item in node.items]
    if not node.plain:
        return node.text
    if node.text in _NULLS:
        return None
    if node.text in _BOOLS:
        return _BOOLS[node.text]
    if _INTEGER.fullmatch(node.text):
        return int(node.text)
    return float(node.text) if _FLOAT.fullmatch(node.text) else node.text


def find(root: Node, path: tuple[PathPart, ...]) -> Node | None:
    """The node at ``path``; None if it does not exist."""
    node: Node | None = root
    for part in path:
        node = _below(node, part) if node is not None else None
    return node


def locate(root: Node, path: tuple[PathPart, ...]) -> tuple[int, int]:
    """Line and column of the value at ``path``, or of the nearest one above it that exists."""
    node = root
    for part in path:
        below = _below(node, part)
        if below is None:
            break
        node = below
    return node.line, node.column


def _below(node: Node, part: PathPart) -> Node | None:
    if isinstance(node, YamlMap) and isinstance(part, str):
        return node.get(part)
    if isinstance(node, YamlList) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def block_indent(node: YamlText, lines: Sequence[str]) -> int | None:
    """How far the lines of a literal block (``|``) are indented in ``lines``, the lines of the whole text.

    The first line of such a block is the one after ``node.line``. None: the node is no such block, so its lines are
    not lines of the text.
    """
    if node.style != "|":
        return None
    for outer, inner in zip(lines[node.line :], node.text.split("\n"), strict=False):
        if inner.strip():
            indent = len(outer) - len(inner)
            return indent if indent >= 0 and outer[indent:] == inner else None
    return 0


def kind_name(node: Node) -> str:
    """What ``node`` is, in the words of an error message."""
    if isinstance(node, YamlMap):
        return "a map"
    if isinstance(node, YamlList):
        return "a list"
    return "nothing" if is_null(node) else "text" if not node.plain else "a single value"


def path_text(path: tuple[PathPart, ...]) -> str:
    """``peers[1].my-asn``. A key that is no plain word is quoted: ``metadata.annotations["a.b/c"]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and len(part) <= _LONGEST_WORD and all(char.isalnum() or char in "-_" for char in part):
            text += f".{part}" if text else part
        else:
            clipped = part if len(part) <= _LONGEST_WORD else part[: _LONGEST_WORD - 1] + "…"
            text += "[" + msgspec.json.encode(clipped).decode() + "]"
    return text


_LONGEST_WORD = 60
