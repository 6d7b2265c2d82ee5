"""Finding the bgp-config in what the operator has: bare YAML, or a ConfigMap manifest that holds it.

Problems must point into the file that the operator edits, so the place of the text inside it is found too. That works
for a block scalar (``config.yaml: |``), whose lines are lines of the file. A quoted or folded value has lines of its
own; then every problem points at the key and says which line of the value it means.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from announcer.config.parse import MAX_BYTES, ParseResult, parse, parse_reading, read_yaml, refused
from announcer.model.errors import ConfigProblem
from announcer.model.objects import ConfigMap
from announcer.yamltree import (
    Node,
    Reading,
    YamlList,
    YamlMap,
    YamlText,
    block_indent,
    decode_text,
    shown,
)

#: The key of the ConfigMap ``bgp-config`` that holds the configuration.
KEY = "config.yaml"


class Extracted(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a bgp-config and where it stood in ``file``.

    ``text`` None: there is none, see ``problems``. ``line_offset`` and ``column_offset`` lead from a place in the text
    to the place in the file. ``exact`` False: they do not; the value begins in line ``line_offset + 1``. ``reading``:
    the YAML of the text if it was read on the way, since to read a large file takes most of a second.
    """

    text: str | None = None
    reading: Reading | None = None
    file: str = ""
    line_offset: int = 0
    column_offset: int = 0
    exact: bool = True
    problems: tuple[ConfigProblem, ...] = ()


def load(data: str | bytes, file: str = "") -> ParseResult:
    """Read a bgp-config, bare or in a ConfigMap manifest, with problems that point into ``file``. Never raises."""
    found = extract(data, file)
    if found.text is None:
        return refused(found.problems)
    if found.reading is not None:
        return parse_reading(found.reading, file)
    if found.exact:
        return parse(found.text, file=file, line_offset=found.line_offset, column_offset=found.column_offset)
    return _inexact(parse(found.text, file=file), found.line_offset + 1)


def parse_config_map(config_map: ConfigMap, key: str = KEY) -> ParseResult:
    """Read the bgp-config in ``config_map.data[key]``. Problems point into the file the object came from, if any."""
    if key not in config_map.data:
        problem = f'the ConfigMap {config_map.key} has no key "{key}"'
        return refused([ConfigProblem(file=config_map.file, path="data", problem=problem, hint=_keys(config_map.data))])
    line = config_map.lines.get(key, 0)
    result = parse(config_map.data[key], file=config_map.file, line_offset=max(line - 1, 0))
    return result if line else _inexact(result, 0)


def extract(data: str | bytes, file: str = "") -> Extracted:
    """The bgp-config in a file, see :class:`Extracted`. Never raises for what the file says."""
    text = decode_text(data, file=file, limit=MAX_BYTES)
    if isinstance(text, ConfigProblem):
        return Extracted(file=file, problems=(text,))
    reading = read_yaml(text, file)
    objects = [found for document in reading.documents for found in _objects(document.root)]
    if not objects:
        return Extracted(text=text, reading=reading, file=file)
    if reading.problems:
        return Extracted(file=file, problems=reading.problems)
    maps = [found for found in objects if _kind(found) == "ConfigMap"]
    holders = [(found, value) for found in maps if (value := _value(found)) is not None]
    if len(holders) == 1:
        return _from_value(holders[0][1], text, file)
    return Extracted(file=file, problems=(_not_one(objects, maps, [found for found, _ in holders], file),))


def _from_value(value: Node, text: str, file: str) -> Extracted:
    if not isinstance(value, YamlText):
        problem = "must be text, but it is part of the manifest's own structure"
        hint = f'write "{KEY}: |" and indent the configuration below it'
        place = ConfigProblem(file=file, line=value.line, column=value.column, path="data", problem=problem, hint=hint)
        return Extracted(file=file, problems=(place,))
    indent = block_indent(value, text.split("\n"))
    if indent is None:
        return Extracted(text=value.text, file=file, line_offset=value.line - 1, exact=False)
    return Extracted(text=value.text, file=file, line_offset=value.line, column_offset=indent)


def _inexact(result: ParseResult, line: int) -> ParseResult:
    """Problems whose lines are lines of a value that stands in one line of the file (0: not known which)."""
    if result.config is not None:
        return result
    return refused(
        msgspec.structs.replace(
            problem,
            line=line,
            column=0,
            problem=f"{problem.problem} [line {problem.line} of the value]" if problem.line else problem.problem,
        )
        for problem in result.problems
    )


def _objects(root: Node) -> Iterator[YamlMap]:
    """The Kubernetes objects in a document: itself, or the items of a List."""
    if not isinstance(root, YamlMap) or root.get("kind") is None:
        return
    items = root.get("items")
    if _kind(root).endswith("List") and isinstance(items, YamlList):
        yield from (item for item in items.items if isinstance(item, YamlMap))
    else:
        yield root


def _kind(found: YamlMap) -> str:
    kind = found.get("kind")
    return kind.text if isinstance(kind, YamlText) else ""


def _value(found: YamlMap) -> Node | None:
    data = found.get("data")
    return data.get(KEY) if isinstance(data, YamlMap) else None


def _not_one(objects: list[YamlMap], maps: list[YamlMap], holders: list[YamlMap], file: str) -> ConfigProblem:
    """The problem of a manifest in which not exactly one ConfigMap holds a configuration."""
    if len(holders) > 1:
        lines = ", ".join(str(found.line) for found in holders)
        place, problem = holders[1], f'several ConfigMaps have the key "{KEY}" (lines {lines})'
        hint = "give a file with one of them"
    elif maps:
        place, problem = maps[0], f'the ConfigMap has no key "{KEY}" under data'
        data = maps[0].get("data")
        hint = _keys({key.text: "" for key, _ in data.entries} if isinstance(data, YamlMap) else {})
    else:
        place, problem = objects[0], f"this is a Kubernetes {shown(_kind(objects[0]))}, not a bgp-config"
        hint = "give a bgp-config, or a ConfigMap that holds one"
    return ConfigProblem(file=file, line=place.line, column=place.column, problem=problem, hint=hint)


def _keys(data: dict[str, str]) -> str:
    names = ", ".join(shown(name) for name in sorted(data)[:8])
    return f"it has {names}" if names else "it has no data"
