"""Keeping passwords out of everything that is said about a file, also where one stands in the wrong place.

The key ``password`` never quotes its value. But a password also gets under a key that is written wrong, into the value
of the line above when its own ``:`` is missing (``password hunter2``), or into a YAML alias when it begins with ``*``.
So every message about a value is looked at once more before it is recorded.
"""

from __future__ import annotations

import re

import msgspec

from announcer.model.errors import ConfigProblem
from announcer.yamltree import Node, PathPart, YamlList, YamlMap, YamlText

#: What the key of a secret is called, in this dialect and in others that an operator may have in mind.
_SECRET_NAME = re.compile(r"passw|passphrase|pwd|secret|md5", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z_-]*")
_QUOTED = re.compile(r'"([^"]*)"')

_ENDS_KEY = re.compile(r"[:=\s]")


def is_secret(path: tuple[PathPart, ...]) -> bool:
    """True if one of these keys is called as a secret is."""
    return any(isinstance(part, str) and _SECRET_NAME.search(part) for part in path)


def public(key: str, path: tuple[PathPart, ...] = ()) -> str:
    """A key below ``path`` as it may be shown.

    ``{password:hunter2}`` (a blank is missing) is one key to YAML, so the end of it is left out; below the key of a
    secret a key may be the secret itself.
    """
    if is_secret(path):
        return "…"
    if _SECRET_NAME.search(key) and not _PLAIN_NAME.fullmatch(key):
        name = _PLAIN_NAME.match(key)
        return f"{name.group() if name else ''}…"
    return key


def public_bare(key: str, path: tuple[PathPart, ...]) -> str:
    """An unknown key without a value, as it may be shown: in a peer it may be a value that lost its key."""
    if path[:1] != ("peers",):
        return public(key, path)
    end = _ENDS_KEY.search(key)
    return f"{public(key[: end.start()], path)}…" if end else "…"


def secret_values(root: Node) -> frozenset[str]:
    """The texts that stand under the key of a secret in a peer, so that an alias of one is not quoted elsewhere."""
    peers = root.get("peers") if isinstance(root, YamlMap) else None
    items = peers.items if isinstance(peers, YamlList) else ()
    return frozenset(
        value.text
        for item in items
        if isinstance(item, YamlMap)
        for key, value in item.entries
        if isinstance(value, YamlText) and value.text and _SECRET_NAME.search(key.text)
    )


def instead(node: Node, path: tuple[PathPart, ...], secrets: frozenset[str]) -> tuple[str, str] | None:
    """Problem and hint for a message that quotes ``node`` and could show a secret; None if it could not."""
    if not isinstance(node, YamlText):
        return None
    if path[:1] == ("peers",) and node.plain and len(node.text.split()) > 1:
        problem = (
            'is more than one word (not shown, it may hold a password): does a key in the next line lack its ": "?'
        )
        return problem, 'write each key as "key: value" on a line of its own'
    if node.text in secrets or _SECRET_NAME.search(node.text) or is_secret(path):
        problem = "is not valid here; it is not shown, because it may be a password or hold one"
        return problem, 'put a password in quotes, on a line of its own that begins with "password: "'
    return None


def conceal(problem: ConfigProblem, lines: list[str]) -> ConfigProblem:
    """A problem that the YAML reader found, without what may be a secret. ``lines`` are those of the whole text.

    A password that begins with ``*`` is an alias to YAML, one that begins with ``!`` a tag, and both would be named.
    """
    source = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
    if _SECRET_NAME.search(problem.path) and source[problem.column - 1 : problem.column] in ("*", "!", "&"):
        return msgspec.structs.replace(
            problem,
            path=_public_quotes(problem.path),
            problem="begins with a character that has a meaning in YAML; it is not shown, because it may be a password",
            hint="put it in quotes",
        )
    return msgspec.structs.replace(
        problem,
        path=_public_quotes(problem.path),
        problem=_public_quotes(problem.problem),
        hint=_public_quotes(problem.hint),
    )


def _public_quotes(text: str) -> str:
    return _QUOTED.sub(lambda match: f'"{public(match[1])}"', text)
