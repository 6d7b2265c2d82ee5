"""Splitting what a watch sends into frames: a length of four bytes, big-endian, and as many bytes of one event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp

from announcer.sources.kube.wire.objects import WireError

_HEADER = 4

#: What Kubernetes' own clients take at most (k8s.io/apimachinery/pkg/runtime/serializer/streaming). An object in etcd
#: is far smaller, so more means that the stream is not one of frames.
MAX_FRAME = 16 << 20


class FrameSplitter:
    """Collects pieces until a frame is complete. Each is copied once, however long the frame becomes."""

    def __init__(self) -> None:
        """Nothing collected yet."""
        self._parts: list[bytes] = []
        self._held = 0
        self._wanted = _HEADER

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The frames that ``piece`` completes, without their lengths. Raises :class:`WireError`."""
        self._parts.append(piece)
        self._held += len(piece)
        if self._held < self._wanted:
            return
        data = b"".join(self._parts)
        begin = 0
        while len(data) - begin >= _HEADER:
            size = int.from_bytes(data[begin : begin + _HEADER], "big")
            if size > MAX_FRAME:
                raise WireError(f"a frame of {size} bytes is not one of a watch")
            end = begin + _HEADER + size
            if end > len(data):
                break
            yield data[begin + _HEADER : end]
            begin = end
        rest = data[begin:]
        self._parts = [rest]
        self._held = len(rest)
        self._wanted = _HEADER if len(rest) < _HEADER else _HEADER + int.from_bytes(rest[:_HEADER], "big")


async def frames_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The complete frames of a body, as they come. A last one without its end was cut off, and is none."""
    splitter = FrameSplitter()
    async for piece in content.iter_any():
        for frame in splitter.feed(piece):
            yield frame
