"""The pure core of the folder source: contents of files to objects, with the last good content of every file.

A file counts as a whole. One that became unreadable or wrong keeps the objects of its last good content, so a slip of
an editor takes no VIP down; only the removal of a file removes its objects. Of a file that never was good, the objects
that can be read count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from announcer.manifests import Origin, decode
from announcer.model.changes import kept
from announcer.model.errors import ConfigProblem
from announcer.model.objects import KIND_OF, Kind, KubeObject, ObjectKey
from announcer.sources.events import Replace
from announcer.yamltree import (
    Document,
    PathPart,
    YamlText,
    block_indent,
    decode_text,
    find,
    locate,
    plain_value,
    read_documents,
    read_json,
)

#: A folder is written by hand or by a generator; a larger file is something else.
MAX_FILE_BYTES = 32 << 20


class Unreadable(msgspec.Struct, frozen=True):
    """Stands for the content of a file that could not be read."""

    problem: str
    hint: str = ""


class PlacedObject(msgspec.Struct, frozen=True, gc=False):
    """An object and the line where it begins."""

    item: KubeObject
    line: int


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """One file: the objects that count, and what is wrong with its present content.

    ``good``: whether ``objects`` were ever a complete content of the file.
    """

    objects: tuple[PlacedObject, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()
    good: bool = False


def fold(
    before: Mapping[str, FileState], changed: Mapping[str, bytes | Unreadable], present: Collection[str]
) -> Mapping[str, FileState]:
    """The files after some of them changed. ``present``: the names of all files that exist; the others are gone.

    What says the same as before is the same value as before: of an object, of a file, and of all of them.
    """
    after = {name: state for name, state in before.items() if name in present and name not in changed}
    for name, content in changed.items():
        if name in present:
            known = before.get(name, FileState())
            after[name] = _shared(known, _take(known, name, content))
    return kept(before, after)


def merge(files: Mapping[str, FileState], *, problems: Iterable[ConfigProblem] = (), synced: bool = True) -> Replace:
    """The event for these files. Of an object in two files, the one in the first file by name counts."""
    first: dict[tuple[Kind, ObjectKey], tuple[str, PlacedObject]] = {}
    found = list(problems)
    for name in sorted(files):
        found.extend(files[name].problems)
        for placed in files[name].objects:
            identity = (KIND_OF[type(placed.item)], placed.item.key)
            if identity in first:
                found.append(_twice(name, placed, identity, first[identity]))
            else:
                first[identity] = (name, placed)
    return Replace(objects=tuple(placed.item for _, placed in first.values()), problems=tuple(found), synced=synced)


def read_file(name: str, content: bytes) -> FileState:
    """The objects in one file. Not ``good`` if anything in it is wrong."""
    text = decode_text(content, file=name, limit=MAX_FILE_BYTES)
    if isinstance(text, ConfigProblem):
        return FileState(problems=(text,))
    return _read_json(name, text) or _read_yaml(name, text)


def _read_json(name: str, text: str) -> FileState | None:
    """The objects of a file that is nothing but JSON. None if anything in it is wrong: its place is not known here."""
    objects: list[PlacedObject] = []
    documents = read_json(text)
    if documents is None:
        return None
    for document in documents:
        decoded = decode(document.value, Origin(file=name))
        if decoded.problems:
            return None
        objects.extend(PlacedObject(item, document.line) for item in decoded.objects)
    return FileState(objects=tuple(objects), good=True)


def _read_yaml(name: str, text: str) -> FileState:
    reading = read_documents(text, file=name)
    problems = list(reading.problems)
    objects: list[PlacedObject] = []
    lines = text.split("\n")
    for document in reading.documents:
        decoded = decode(plain_value(document.root), _origin(name, document, lines))
        problems.extend(decoded.problems)
        objects.extend(PlacedObject(item, document.root.line) for item in decoded.objects)
    return FileState(objects=tuple(objects), problems=tuple(problems), good=not problems)


def _take(before: FileState, name: str, content: bytes | Unreadable) -> FileState:
    if isinstance(content, Unreadable):
        now = FileState(problems=(ConfigProblem(file=name, problem=content.problem, hint=content.hint),))
    elif not content.strip() and before.objects:
        # A full disk or an interrupted write leaves an empty file far more often than an operator does.
        hint = "remove the file to remove its objects"
        now = FileState(problems=(ConfigProblem(file=name, problem="the file is empty", hint=hint),))
    else:
        now = read_file(name, content)
    # Of a file that never was good, what can be read now counts before what could be read earlier.
    if now.good or not before.objects or (now.objects and not before.good):
        return now
    note = ConfigProblem(file=name, problem=f"its last good content ({_count(before)}) stays in force")
    return FileState(objects=before.objects, problems=(*now.problems, note), good=before.good)


def _shared(before: FileState, now: FileState) -> FileState:
    """``now``, made of what is equal in ``before``: whoever decides looks only into what is another value."""
    known = {(type(placed.item), placed.item.key): placed.item for placed in before.objects}

    def kept(item: KubeObject) -> KubeObject:
        same = known.get((type(item), item.key))
        return same if same is not None and same == item else item

    objects = tuple(PlacedObject(kept(placed.item), placed.line) for placed in now.objects)
    after = msgspec.structs.replace(now, objects=objects)
    return before if after == before else after


def _origin(name: str, document: Document, lines: list[str]) -> Origin:
    def block(path: tuple[PathPart, ...]) -> int:
        node = find(document.root, path)
        exact = isinstance(node, YamlText) and block_indent(node, lines) is not None
        return node.line + 1 if node is not None and exact else 0

    return Origin(file=name, place=lambda path: locate(document.root, path), block=block)


def _twice(
    name: str, placed: PlacedObject, identity: tuple[Kind, ObjectKey], first: tuple[str, PlacedObject]
) -> ConfigProblem:
    kind, key = identity
    where = f"{first[0]}, line {first[1].line}"
    return ConfigProblem(
        file=name,
        line=placed.line,
        problem=f"{kind} {key} is already in {where}, and that one counts",
        hint="remove one of the two",
    )


def _count(state: FileState) -> str:
    return f"{len(state.objects)} object" + ("s" if len(state.objects) != 1 else "")
