"""From text to nodes: PyYAML's events, folded without recursion and within limits.

The limits exist because the text may come from anybody who can write a ConfigMap: libyaml takes a minute for 200 kB of
opening brackets, and forty lines of aliases can stand for more nodes than there is memory. Events come one by one, so
reading simply stops at the limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import yaml

from announcer.model.errors import ConfigProblem
from announcer.yamltree.build import Builder, Limits
from announcer.yamltree.nodes import Document, is_null
from announcer.yamltree.text import shown

__all__ = ["Limits", "Reading", "read_documents"]


class Reading(msgspec.Struct, frozen=True):
    """What a text holds. Documents that hold nothing at all are left out. ``problems`` may exist beside documents."""

    documents: tuple[Document, ...]
    problems: tuple[ConfigProblem, ...]


def read_documents(text: str, *, file: str = "", limits: Limits | None = None) -> Reading:
    """All documents of ``text`` (already through ``decode_text``). Never raises for what the text says."""
    builder = Builder(file, limits or Limits())
    try:
        for event in _events(text):
            builder.take(event)
            if builder.stopped:
                break
    except yaml.MarkedYAMLError as error:
        builder.problem(*_marked(error, text))
    except yaml.YAMLError as error:
        builder.problem(0, 0, f"not valid YAML: {shown(str(error))}")
    documents = tuple(Document(root) for root in builder.documents if not is_null(root))
    return Reading(documents, tuple(builder.problems))


def _events(text: str) -> Iterator[yaml.Event]:
    yield from yaml.parse(text, Loader=yaml.CSafeLoader)


#: libyaml's wording, ours, and what to do. First match wins; {char} is the character at the place of the error.
_WORDING: tuple[tuple[str, str, str], ...] = (
    ("cannot start any token", "no value can begin with {char}", "put the value in quotes"),
    (
        "mapping values are not allowed",
        'a second ":" in one line, or a line that is indented wrongly',
        'put a value that contains ": " in quotes; keys of one map begin in the same column',
    ),
    (
        "did not find expected key",
        "this line fits no map that is open here",
        "keys of one map begin in the same column",
    ),
    ("'-' indicator", "this line fits no list that is open here", 'the "-" of one list stand in the same column'),
    (
        "could not find expected ':'",
        'a key without ":"',
        'write it as "key: value"; keys of one map begin in the same column',
    ),
)
_CUT_OFF = re.compile(r"end of stream|expected node content|expected ',' or|could not find expected ':'")


def _marked(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str, str]:
    """Line, column, problem and hint of a syntax error."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "not YAML"
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    here = lines[line][column : column + 1] if line < len(lines) else ""
    ended = line >= len(lines) or not "".join([lines[line][column:], *lines[line + 1 :]]).strip()
    began = ""
    if error.context and error.context_mark and error.context_mark.line != line:
        began = f", {error.context} in line {error.context_mark.line + 1}"
    if ended and _CUT_OFF.search(problem):
        last = len(text.rstrip().split("\n"))
        if error.context_mark and error.context_mark.line < min(line, last - 1):
            began = f" that began in line {error.context_mark.line + 1}"
        return min(line + 1, last), 0, f"the text ends in the middle of something{began}", "is the file cut off?"
    if here == "\t":
        return line + 1, column + 1, "a tab is used to indent", "YAML allows only spaces there"
    for theirs, ours, hint in _WORDING:
        if theirs in problem:
            return line + 1, column + 1, "not valid YAML: " + ours.format(char=f'"{shown(here)}"') + began, hint
    return line + 1, column + 1, f"not valid YAML: {shown(problem)}{began}", ""
