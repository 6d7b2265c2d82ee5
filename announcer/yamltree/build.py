"""The builder of nodes: a stack of open containers, fed with PyYAML's events."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import yaml

from announcer.model.errors import ConfigProblem
from announcer.yamltree.nodes import Node, PathPart, YamlList, YamlMap, YamlText, path_text
from announcer.yamltree.text import shown

_STRING_TAGS = ("!", "tag:yaml.org,2002:str")
_MERGE = "<<"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is read. ``nodes`` counts with aliases written out; ``problems`` is when looking on is pointless."""

    documents: int = 10_000
    depth: int = 64
    nodes: int = 2_000_000
    problems: int = 200


class _OpenList:
    def __init__(self, event: yaml.NodeEvent, line: int, column: int) -> None:
        self.anchor: str | None = event.anchor
        self.line, self.column = line, column
        self.items: list[Node] = []

    def here(self) -> PathPart:
        return len(self.items)


class _OpenMap:
    def __init__(self, event: yaml.NodeEvent, line: int, column: int) -> None:
        self.anchor: str | None = event.anchor
        self.line, self.column = line, column
        self.entries: dict[str, tuple[YamlText, Node]] = {}
        self.merged: list[YamlMap] = []
        self.key: YamlText | None = None

    def here(self) -> PathPart:
        return self.key.text if self.key else ""


_Open: TypeAlias = _OpenList | _OpenMap


class Builder:
    """Folds events into documents. ``stopped``: a limit was reached or the rest would only mislead; feed no more."""

    def __init__(self, file: str, limits: Limits) -> None:
        self.documents: list[Node] = []
        self.problems: list[ConfigProblem] = []
        self.stopped = False
        self._file = file
        self._limits = limits
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def problem(self, line: int, column: int, problem: str, hint: str = "") -> None:
        """Record a problem at a place, with the path of the node that is open."""
        path = path_text(tuple(frame.here() for frame in self._open if frame.here() != ""))
        self.problems.append(
            ConfigProblem(file=self._file, line=line, column=column, path=path, problem=problem, hint=hint)
        )
        self.stopped = self.stopped or len(self.problems) >= self._limits.problems

    def take(self, event: yaml.Event) -> None:
        """Take the next event."""
        line, column = (event.start_mark.line + 1, event.start_mark.column + 1) if event.start_mark else (0, 0)
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()
            if len(self.documents) >= self._limits.documents:
                self.problem(line, column, f"more than {self._limits.documents:,} documents", "split the file")
                self.stopped = True
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line, column)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin(event, _OpenList(event, line, column))
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin(event, _OpenMap(event, line, column))
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line, column)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            self._end()

    # --- events -------------------------------------------------------------------------------------------------

    def _scalar(self, event: yaml.ScalarEvent, line: int, column: int) -> None:
        style = event.style or ""
        if event.tag in _STRING_TAGS:
            style = style or '"'
        elif event.tag is not None:
            self._refuse_tag(event.tag, line, column)
        node = YamlText(text=event.value, style=style, line=line, column=column)
        self._count(1, line, column)
        self._remember(event.anchor, node)
        self._add(node)

    def _begin(self, event: yaml.NodeEvent, frame: _Open) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            self._refuse_tag(str(tag), frame.line, frame.column)
        self._remember(frame.anchor, None)
        self._count(1, frame.line, frame.column)
        self._open.append(frame)
        self._check_depth(0, frame.line, frame.column)

    def _end(self) -> None:
        frame = self._open.pop()
        node = _close(frame)
        self._remember(frame.anchor, node)
        self._add(node)

    def _alias(self, event: yaml.AliasEvent, line: int, column: int) -> None:
        anchor = event.anchor or ""
        node = self._anchors.get(anchor)
        if node is None:
            why = "stands inside itself" if anchor in self._anchors else "names an anchor that does not exist"
            self.problem(line, column, f"the alias *{shown(anchor)} {why}", "write the value out")
            self.stopped = True
            return
        if not isinstance(node, YamlText):
            self._check_depth(node.height, line, column)
        self._count(_size(node), line, column)
        # A word stands where the alias does; otherwise a problem would point at another peer or pool. A block of text
        # stays where its lines are.
        if isinstance(node, YamlText) and node.style not in ("|", ">"):
            node = msgspec.structs.replace(node, line=line, column=column)
        self._add(node)

    # --- nodes --------------------------------------------------------------------------------------------------

    def _add(self, node: Node) -> None:
        if not self._open:
            self.documents.append(node)
        elif isinstance(parent := self._open[-1], _OpenList):
            parent.items.append(node)
        elif parent.key is None:
            self._add_key(parent, node)
        else:
            self._add_value(parent, parent.key, node)
            parent.key = None

    def _add_key(self, parent: _OpenMap, node: Node) -> None:
        if isinstance(node, YamlText):
            parent.key = node
            return
        self.problem(node.line, node.column, "a key must be a single word, not a list or a map", "quote the key")
        self.stopped = True

    def _add_value(self, parent: _OpenMap, key: YamlText, node: Node) -> None:
        if key.text == _MERGE and key.plain:
            maps = node.items if isinstance(node, YamlList) else (node,)
            for item in maps:
                if isinstance(item, YamlMap):
                    parent.merged.append(item)
                else:
                    self.problem(key.line, key.column, "<< merges maps only", "give it an alias of a map")
        elif key.text in parent.entries:
            first = parent.entries[key.text][0]
            self.problem(
                key.line,
                key.column,
                f'the key "{shown(key.text)}" stands twice, first in line {first.line}',
                "keep one of the two",
            )
        else:
            parent.entries[key.text] = (key, node)

    def _remember(self, anchor: str | None, node: Node | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    # --- limits -------------------------------------------------------------------------------------------------

    def _count(self, nodes: int, line: int, column: int) -> None:
        self._nodes += nodes
        if self._nodes > self._limits.nodes and not self.stopped:
            problem = f"more than {self._limits.nodes:,} values (aliases counted as often as they are used)"
            self.problem(line, column, problem, "split the file, or use fewer aliases")
            self.stopped = True

    def _check_depth(self, more: int, line: int, column: int) -> None:
        if len(self._open) + more > self._limits.depth and not self.stopped:
            self._open = self._open[:3]  # the path of the message, not all of it
            self.problem(line, column, f"more than {self._limits.depth} levels deep", "")
            self.stopped = True

    def _refuse_tag(self, tag: str, line: int, column: int) -> None:
        self.problem(line, column, f'the tag "{shown(tag)}" is not supported', "remove it")


def _size(node: Node) -> int:
    return 1 if isinstance(node, YamlText) else node.size


def _close(frame: _Open) -> Node:
    if isinstance(frame, _OpenList):
        return YamlList(
            items=tuple(frame.items),
            line=frame.line,
            column=frame.column,
            size=1 + sum(map(_size, frame.items)),
            height=1 + max(map(_height, frame.items), default=0),
        )
    # The map's own keys win over merged ones, earlier merged maps over later ones (yaml.org/type/merge).
    for merged in frame.merged:
        for key, value in merged.entries:
            frame.entries.setdefault(key.text, (key, value))
    values = [value for _, value in frame.entries.values()]
    return YamlMap(
        entries=tuple(frame.entries.values()),
        line=frame.line,
        column=frame.column,
        size=1 + len(values) + sum(map(_size, values)),
        height=1 + max(map(_height, values), default=0),
    )


def _height(node: Node) -> int:
    return 0 if isinstance(node, YamlText) else node.height
