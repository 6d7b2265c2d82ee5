"""YAML that is JSON, read as JSON: a tenth of the time, and no tree.

Programs write manifests as JSON, and thousands of them. A text that both ways would not read alike is none that this
way reads at all: what is left out here is what the two languages disagree on, and what only the tree can explain.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from announcer.yamltree.build import Limits

#: What JSON takes and YAML does not, or not for the same: tabs, the line ends of Unicode, a byte order mark.
_DISPUTED = "\t\x85\u2028\u2029\ufeff"
_COLON_BEGINS_LINE = re.compile(r"\n *:")
#: Escapes that both take for the same.
_ESCAPE = re.compile(r'\\["\\nrt]')
_SEPARATOR = re.compile(r"^---$", re.MULTILINE)
#: libyaml takes no longer key.
_LONGEST_KEY = 1000
_LONGEST_NUMBER = 19


class PlainDocument(msgspec.Struct, frozen=True):
    """A document as dicts, lists, strings, whole numbers, truth values and None, and the line where it begins."""

    value: Any
    line: int


class _Otherwise(ValueError):
    """Not for this way."""


def read_json(text: str, limits: Limits | None = None) -> list[PlainDocument] | None:
    """All documents of ``text`` (already through ``decode_text``), as ``plain_value`` has those of ``read_documents``.

    None if not all of them are JSON, or if any of them had a problem: then ``read_documents`` knows what it is.
    ``limits`` on depth do not hold: this way takes no harm from it.
    """
    limits = limits or Limits()
    if _disputed(text) or sum(map(text.count, ",:[{")) >= limits.nodes:
        return None
    found: list[PlainDocument] = []
    line = 1
    for piece in _SEPARATOR.split(text):
        begin = piece.lstrip(" \n")
        if begin:
            try:
                value = _DECODER.decode(begin)
            except (ValueError, RecursionError):
                return None
            blank = len(piece) - len(begin)
            found.append(PlainDocument(value, line + piece.count("\n", 0, blank)))
        line += piece.count("\n")
    return found if len(found) <= limits.documents else None


def _disputed(text: str) -> bool:
    if any(map(text.__contains__, _DISPUTED)) or _COLON_BEGINS_LINE.search(text):
        return True
    return "\\" in text and "\\" in _ESCAPE.sub("", text)


def _map(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs) or max(map(len, found), default=0) > _LONGEST_KEY:
        raise _Otherwise
    return found


def _whole(word: str) -> int:
    if len(word) > _LONGEST_NUMBER:
        raise _Otherwise
    return int(word)


def _refuse(_: str) -> Any:
    raise _Otherwise


_DECODER = json.JSONDecoder(object_pairs_hook=_map, parse_int=_whole, parse_float=_refuse, parse_constant=_refuse)
