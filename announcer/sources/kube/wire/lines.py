"""Splitting what a watch sends into lines: one JSON value each, however the bytes arrive and however long it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp


class LineSplitter:
    """Collects pieces until a line is complete. Each is looked at once, however long the line becomes."""

    def __init__(self) -> None:
        """Nothing collected yet."""
        self._parts: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that ``piece`` completes, without their ends; blank ones are left out."""
        *complete, rest = piece.split(b"\n")
        if complete:
            first = b"".join((*self._parts, complete[0]))
            self._parts.clear()
            yield from filter(bytes.strip, (first, *complete[1:]))
        if rest:
            self._parts.append(rest)


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The complete lines of a body, as they come. A last line without an end was cut off, and is not one."""
    splitter = LineSplitter()
    async for piece in content.iter_any():
        for line in splitter.feed(piece):
            yield line
