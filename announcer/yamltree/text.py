"""From bytes to text that YAML may hold: size, encoding and control characters, each refused with its place."""

from __future__ import annotations

import re

from announcer.model.errors import ConfigProblem

#: What YAML 1.1 (section 5.1) does not allow as it stands: C0 and C1 controls, lone surrogates, non-characters.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")

#: Of those, the ones that ASCII has.
_FORBIDDEN_ASCII = bytes(code for code in range(128) if _FORBIDDEN.match(chr(code)))

_MEBIBYTE = 1 << 20


def decode_text(data: str | bytes, *, file: str, limit: int) -> str | ConfigProblem:
    """``data`` as text that a YAML parser will take, or the first thing wrong with it.

    ``limit`` in bytes; it is looked at first, so that a huge file costs nothing. A byte order mark is dropped, and
    line ends become ``\\n``, so that lines are counted as editors count them.
    """
    if len(data) > limit:
        return ConfigProblem(
            file=file,
            problem=f"is larger than {limit // _MEBIBYTE} MiB ({limit:,} bytes), the most that is read",
            hint="is this the right file?",
        )
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            return _not_utf8(data, error, file)
    else:
        text = data
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    bad = None if _harmless(text) else _FORBIDDEN.search(text)
    if bad is None:
        return text
    line, column = _place(text, bad.start())
    return ConfigProblem(
        file=file,
        line=line,
        column=column,
        problem=f"the character U+{ord(bad.group()):04X} may not stand in YAML",
        hint="remove it; inside double quotes it can be written as an escape",
    )


def _harmless(text: str) -> bool:
    """True for most texts, and fifty times as fast as to look for what is forbidden."""
    if not text.isascii():
        return False
    data = text.encode()
    return len(data.translate(None, _FORBIDDEN_ASCII)) == len(data)


def shown(text: str, *, limit: int = 60) -> str:
    """``text`` as it may be quoted in a message: on one line, without control characters, not endless."""
    clipped = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in clipped)


def _not_utf8(data: bytes, error: UnicodeDecodeError, file: str) -> ConfigProblem:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = "it looks like UTF-16; save it as UTF-8"
    else:
        hint = "save the file as UTF-8"
    before = data[: error.start].decode("utf-8-sig", "replace")
    line, column = _place(before.replace("\r\n", "\n").replace("\r", "\n"), None)
    byte = data[error.start] if error.start < len(data) else 0
    return ConfigProblem(
        file=file,
        line=line,
        column=column,
        problem=f"not UTF-8: byte 0x{byte:02x} at offset {error.start}",
        hint=hint,
    )


def _place(text: str, offset: int | None) -> tuple[int, int]:
    """Line and column, from 1, of ``offset`` (None: of what follows ``text``)."""
    before = text if offset is None else text[:offset]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
