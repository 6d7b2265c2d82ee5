"""Reading fields of plain values with a path, so that whatever has the wrong type is reported with its place."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec

from announcer.model.errors import ConfigProblem
from announcer.model.net import IPAddress, IPNetwork
from announcer.yamltree import PathPart, path_text, shown

Path: TypeAlias = tuple[PathPart, ...]


#: Most objects have no labels, no annotations or no selector, and an empty map takes as much as a small one.
_NO_TEXTS: dict[str, str] = {}


def _no_place(_: Path) -> tuple[int, int]:
    return 0, 0


def _no_block(_: Path) -> int:
    return 0


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an object was read: a file, and how to find a path in it. The default is nowhere (an API server).

    ``place(path)`` is line and column of a value; ``block(path)`` the line in which the lines of a text begin, 0 if
    they are not lines of the file.
    """

    file: str = ""
    place: Callable[[Path], tuple[int, int]] = _no_place
    block: Callable[[Path], int] = _no_block


class Field:
    """A value in an object. Null means absent, as in the API; a wrong type is recorded and then read as absent."""

    def __init__(self, value: Any, path: Path, origin: Origin, problems: list[ConfigProblem]) -> None:
        self.value = value
        self.path = path
        self.origin = origin
        self.problems = problems

    def wrong(self, problem: str, hint: str = "") -> None:
        """Record a problem of this field."""
        line, column = self.origin.place(self.path)
        self.problems.append(
            ConfigProblem(
                file=self.origin.file,
                line=line,
                column=column,
                path=path_text(self.path),
                problem=problem,
                hint=hint,
            )
        )

    def get(self, *keys: str) -> Field:
        """The field below, over several maps; absent if any of them is."""
        field = self
        for key in keys:
            below = field._typed(dict, "a map") or {}
            field = Field(below.get(key), (*field.path, key), self.origin, self.problems)
        return field

    def items(self) -> Iterator[Field]:
        """The items of a list."""
        for index, item in enumerate(self._typed(list, "a list") or ()):
            yield Field(item, (*self.path, index), self.origin, self.problems)

    def entries(self) -> Iterator[tuple[str, Field]]:
        """Keys and values of a map."""
        for key, value in (self._typed(dict, "a map") or {}).items():
            yield str(key), Field(value, (*self.path, str(key)), self.origin, self.problems)

    def text(self, default: str = "") -> str:
        """Text."""
        found = self._typed(str, "text")
        return default if found is None else str(found)

    def texts(self) -> dict[str, str]:
        """A map of text to text, such as labels. All that are empty are one."""
        return {key: field.text() for key, field in self.entries()} or _NO_TEXTS

    def truth(self, default: bool) -> bool:
        """``true`` or ``false``."""
        found = self._typed(bool, "true or false")
        return default if found is None else bool(found)

    def port(self, default: int | None = None) -> int:
        """A port number from 1 to 65535; without ``default`` it must be there (0 stands in if it is wrong)."""
        if self.value is None:
            if default is None:
                self.wrong("is missing", "write a number from 1 to 65535")
            return default or 0
        if self._typed(int, "a number") is None:
            return default or 0
        if not 1 <= self.value <= 65535 and self.value != default:
            self.wrong(f"{shown(str(self.value))} is not a port", "a port is a number from 1 to 65535")
            return default or 0
        return int(self.value)

    def whole(self, low: int, high: int, default: int) -> int:
        """A number from ``low`` to ``high``."""
        value = self._typed(int, "a number")
        if value is None:
            return default
        if not low <= value <= high:
            self.wrong(f"{shown(str(value))} is out of range", f"it must be from {low} to {high}")
            return default
        return int(value)

    def address(self) -> IPAddress | None:
        """An IP address; None if it is absent or wrong."""
        word = self.text()
        if not word:
            return None
        try:
            return ipaddress.ip_address(word)
        except ValueError:
            self.wrong(f'"{shown(word)}" is not an IP address')
            return None

    def network(self) -> IPNetwork | None:
        """A prefix without host bits; None if it is absent or wrong."""
        word = self.text()
        if not word:
            return None
        try:
            return ipaddress.ip_network(word)
        except ValueError as error:
            self.wrong(f'"{shown(word)}" is not a prefix', shown(str(error)))
            return None

    def _typed(self, kind: type, name: str) -> Any:
        value = self.value
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        # The value itself is not quoted: it may be one of a Secret.
        quote = "put it in quotes" if kind is str and isinstance(value, (int, float, bool)) else ""
        self.wrong(f"must be {name}, not {_name_of(value)}", quote)
        return None


def _name_of(value: Any) -> str:
    for kind, name in ((bool, "true or false"), ((int, float), "a number"), (str, "text"), (dict, "a map")):
        if isinstance(value, kind):
            return name
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"
