"""How the commands ask the agent: HTTP over the Unix socket in its state folder."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from announcer.run.settings import DEFAULT_STATE_DIR

EXIT_NO = 1
EXIT_WRONG_USE = 2
EXIT_UNREACHABLE = 3

_TIMEOUT_SECONDS = 10.0
_SOCKET = "status.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class UnreachableError(Exception):
    """No agent answers in this state folder."""


class RefusedError(Exception):
    """The agent refuses the question; the text says why."""


def fetch(state_dir: Path, path: str, query: dict[str, str] | None = None, body: bytes | None = None) -> dict[str, Any]:
    """The agent's JSON answer. With a ``body`` it is asked by POST.

    Raises :class:`UnreachableError` or :class:`RefusedError`.
    """
    target = f"{path}?{urlencode(query)}" if query else path
    status, text = _request(state_dir, target, body)
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise UnreachableError(f"what answers at {state_dir / _SOCKET} is no agent: {error}") from error
    if status >= 400:
        raise RefusedError(str(answer.get("error", status)))
    assert isinstance(answer, dict)
    return answer


def fetch_text(state_dir: Path, path: str) -> str:
    """The agent's answer where it is no JSON (``/metrics``). Raises :class:`UnreachableError`."""
    return _request(state_dir, path)[1]


def _request(state_dir: Path, target: str, body: bytes | None = None) -> tuple[int, str]:
    socket_path = state_dir / _SOCKET
    try:
        with contextlib.closing(_UnixConnection(socket_path)) as connection:
            connection.request("GET" if body is None else "POST", target, body)
            response = connection.getresponse()
            return response.status, response.read().decode()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"no agent answers at {socket_path}: {reason}") from error


def ask(state_dir: Path, path: str, query: dict[str, str] | None = None, body: bytes | None = None) -> dict[str, Any]:
    """The agent's JSON answer. Ends the program with 3 if it cannot be reached, with 2 if it refuses the question."""
    try:
        return fetch(state_dir, path, query, body)
    except UnreachableError as error:
        click.echo(f"lockstep: {error}", err=True)
        click.echo("Is `lockstep run` running here? If it has another state folder, give --state-dir.", err=True)
        sys.exit(EXIT_UNREACHABLE)
    except RefusedError as error:
        click.echo(f"lockstep: {error}", err=True)
        sys.exit(EXIT_WRONG_USE)


def print_json(value: Any) -> None:
    """``value`` as people and programs can read it."""
    click.echo(json.dumps(value, indent=2))


Decorator = Callable[[Callable[..., None]], Callable[..., None]]

state_dir_option: Decorator = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_STATE_DIR,
    show_default=True,
    envvar="LOCKSTEP_STATE_DIR",
    help="The agent's state folder.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
