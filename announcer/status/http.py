"""A small HTTP/1.1 server on a Unix socket and on loopback. It answers questions and changes nothing.

The protocol itself is h11's. One request a connection is enough for a status page, a scraper and a command line, and
leaves nothing to keep alive; a client that is slow or silent is cut off after a few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11
import msgspec

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 5.0
_READ_BYTES = 16384
#: A bgp-config fits well: a ConfigMap cannot hold more than 1 MiB.
_BODY_BYTES = 2 << 20


class Request(msgspec.Struct, frozen=True):
    """What a handler sees of a request. Of a repeated query parameter the last one counts."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes = b""


class Response(msgspec.Struct, frozen=True):
    """What a handler answers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


def json_response(value: Any, status: int = 200) -> Response:
    """``value`` as indented JSON: people read it too."""
    return Response(status, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


class ListenError(Exception):
    """An address that cannot be listened on."""


async def listen(address: str, handler: Handler) -> asyncio.Server:
    """Serve ``handler`` on ``unix:PATH`` (mode 0600) or ``ADDRESS:PORT``. Raises :class:`ListenError`."""

    serve = _server_of(handler)
    try:
        if address.startswith("unix:"):
            return await _listen_unix(Path(address.removeprefix("unix:")), serve)
        host, port = parse_tcp_address(address)
        return await asyncio.start_server(serve, host, port)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error


async def serve_on(opened: socket.socket, handler: Handler, most: int) -> asyncio.Server:
    """Serve ``handler`` on a socket that listens already; it is closed with the server.

    ``most`` connections at a time, for sockets that strangers can reach; further ones are closed at once.
    """
    return await asyncio.start_server(_server_of(handler, most), sock=opened)


def _server_of(
    handler: Handler, most: int | None = None
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    serving = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal serving
        if most is not None and serving >= most:
            writer.close()
            return
        serving += 1
        try:
            await _serve(reader, writer, handler)
        finally:
            serving -= 1

    return serve


def parse_tcp_address(address: str) -> tuple[str, int]:
    """``ADDRESS:PORT``, an IPv6 address in brackets. Raises :class:`ListenError`."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        raise ListenError(f"{address!r} is neither unix:PATH nor ADDRESS:PORT") from None
    if not 0 <= number <= 65535:
        raise ListenError(f"{address!r}: a port is 0 to 65535")
    return host, number


async def _listen_unix(
    path: Path, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> asyncio.Server:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(serve, path)
    finally:
        os.umask(mask)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            try:
                request = await _read_request(connection, reader)
                response = await _answer(request, handler) if request is not None else None
            except h11.RemoteProtocolError as error:
                response = json_response({"error": str(error)}, error.error_status_hint)
            if response is not None:
                writer.write(_encode(connection, response))
                await writer.drain()
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()


async def _read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    found: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Request):
            found = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _BODY_BYTES:
                raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage) and found is not None:
            url = urlsplit(found.target.decode("ascii", "replace"))
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            return Request(found.method.decode("ascii"), url.path, query, bytes(body))
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None


async def _answer(request: Request, handler: Handler) -> Response:
    try:
        return await handler(request)
    except Exception:
        log.exception("status request failed: %s", request.path)
        return json_response({"error": "internal error, see the agent's log"}, 500)


def _encode(connection: h11.Connection, response: Response) -> bytes:
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        *response.headers,
        ("connection", "close"),
    ]
    parts = [connection.send(h11.Response(status_code=response.status, headers=headers))]
    if connection.their_state is not h11.ERROR and connection.our_state is h11.SEND_BODY:
        parts.append(connection.send(h11.Data(data=response.body)))
        parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)
