"""Walking a tree of nodes by tables of keys, collecting everything that is wrong on the way.

A converter takes a node and returns a value or raises :class:`WrongValue`; whoever reads a key with it records the
problem with line and path and goes on, so that an operator sees all problems of a file at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar

import msgspec

from announcer.config.secrets import instead, public, public_bare
from announcer.model.errors import ConfigProblem
from announcer.yamltree import Node, PathPart, YamlList, YamlMap, YamlText, is_null, kind_name, path_text, shown

T = TypeVar("T")

#: Beyond this many problems the file is of another kind, and looking for near keys would take minutes.
MAX_PROBLEMS = 200


class WrongValue(Exception):
    """A value that does not convert. Never leaves this package. ``quotes`` False: the text does not quote the value."""

    def __init__(self, problem: str, hint: str = "", *, quotes: bool = True) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.quotes = quotes


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one kind of map: those served, and those of the wider dialect that are not.

    ``refused`` has the reason and what to do instead for each of the latter.
    """

    served: tuple[str, ...]
    refused: Mapping[str, tuple[str, str]] = {}


class Problems:
    """Collects problems of one file. ``secrets`` are values that no problem may quote."""

    def __init__(self, file: str, secrets: frozenset[str] = frozenset()) -> None:
        self.file = file
        self.secrets = secrets
        self.found: list[ConfigProblem] = []

    @property
    def full(self) -> bool:
        """True when looking on is pointless."""
        return len(self.found) >= MAX_PROBLEMS

    def add(self, node: Node, path: tuple[PathPart, ...], problem: str, hint: str = "", *, quotes: bool = True) -> None:
        """Record a problem of ``node``; beyond the limit it is dropped, and ``full`` says so.

        ``quotes``: the text may quote the node, so another text stands in if that could be a secret.
        """
        if self.full:
            return
        if quotes:
            problem, hint = instead(node, path, self.secrets) or (problem, hint)
        self.found.append(
            ConfigProblem(
                file=self.file,
                line=node.line,
                column=node.column,
                path=path_text(path),
                problem=problem,
                hint=hint,
            )
        )


class At:
    """A node, the path that led to it, and where its problems go."""

    def __init__(self, node: Node, path: tuple[PathPart, ...], problems: Problems) -> None:
        self.node = node
        self.path = path
        self.problems = problems

    def wrong(self, problem: str, hint: str = "", *, quotes: bool = True) -> None:
        """Record a problem of this node. ``quotes``: the text may quote it."""
        self.problems.add(self.node, self.path, problem, hint, quotes=quotes)

    def read(self, convert: Callable[[Node], T]) -> T | None:
        """The converted value; None, and a problem, if it does not convert."""
        try:
            return convert(self.node)
        except WrongValue as error:
            self.wrong(error.problem, error.hint, quotes=error.quotes)
            return None

    def items(self, what: str) -> Iterator[At]:
        """The items of a list; none if there is nothing here. ``what`` names the items in a message."""
        if is_null(self.node):
            return
        if not isinstance(self.node, YamlList):
            problem = f"must be a list of {what}, not {kind_name(self.node)}"
            self.wrong(problem, 'begin each item with "- "', quotes=False)
            return
        for index, item in enumerate(self.node.items):
            if self.problems.full:
                return
            yield At(item, (*self.path, index), self.problems)

    def entries(self, what: str) -> Iterator[tuple[YamlText, At]]:
        """Keys and values of a map with free keys; none if there is nothing here."""
        if is_null(self.node):
            return
        if not isinstance(self.node, YamlMap):
            problem = f"must be a map of {what}, not {kind_name(self.node)}"
            self.wrong(problem, 'write each entry as "key: value"', quotes=False)
            return
        for key, value in self.node.entries:
            if self.problems.full:
                return
            yield key, At(value, (*self.path, public(key.text, self.path)), self.problems)

    def fields(self, keys: Keys) -> Fields | None:
        """The fields of a map with fixed keys, unknown ones recorded; None, and a problem, if it is no map."""
        if not isinstance(self.node, YamlMap):
            hint = f"its keys are {', '.join(keys.served)}"
            self.wrong(f"must be a map, not {kind_name(self.node)}", hint, quotes=False)
            return None
        meant = set()
        for key, value in self.node.entries:
            if self.problems.full:
                break
            if key.text not in keys.served:
                near = _nearest(key.text, keys)
                meant.add(near)
                bare = is_null(value) and near not in keys.served
                name = public_bare(key.text, self.path) if bare else public(key.text, self.path)
                self.problems.add(key, (*self.path, name), *_unknown(name, keys, near), quotes=False)
        return Fields(self, self.node, meant)


class Fields:
    """The fields of one map, read one after the other."""

    def __init__(self, at: At, node: YamlMap, meant: Collection[str]) -> None:
        """Read ``node`` at ``at``. ``meant``: keys that are there under a wrong name, and so not missing."""
        self._at = at
        self._node = node
        self._meant = meant

    def at(self, key: str) -> At | None:
        """The value of ``key``; None if it is absent."""
        node = self._node.get(key)
        return None if node is None else At(node, (*self._at.path, key), self._at.problems)

    def read(self, key: str, convert: Callable[[Node], T], default: T) -> T:
        """The value of an optional key. A value that does not convert is recorded, and ``default`` stands in."""
        at = self.at(key)
        value = at.read(convert) if at else None
        return default if value is None else value

    def need(self, key: str, convert: Callable[[Node], T], example: str) -> T | None:
        """The value of a required key; None, and a problem, if it is absent or does not convert."""
        at = self.at(key)
        if at is not None:
            return at.read(convert)
        self.missing(key, example)
        return None

    def missing(self, key: str, example: str) -> None:
        """Record that a required key is absent, unless it is there under a name that was refused already."""
        if key not in self._meant:
            hint = f'add it, for example "{key}: {example}"'
            self._at.problems.add(self._at.node, (*self._at.path, key), "is missing", hint)


def _nearest(key: str, keys: Keys) -> str:
    """The known key that was probably meant; empty if none is near."""
    spelled = re.sub("(?<=[a-z0-9])(?=[A-Z])", "-", key[:64]).lower().replace("_", "-")
    return next(iter(get_close_matches(spelled, (*keys.served, *keys.refused), n=1)), "")


def _unknown(key: str, keys: Keys, near: str) -> tuple[str, str]:
    """Problem and hint for a key that is not served."""
    if key in keys.refused:
        reason, hint = keys.refused[key]
        return f'"{key}" is not served: {reason}', hint
    if not near:
        return f'"{shown(key)}" is not a key here', f"the keys here are {', '.join(keys.served)}"
    not_served = " (which is not served)" if near in keys.refused else ""
    return f'"{shown(key)}" is not a key here', f'did you mean "{near}"?{not_served}'
