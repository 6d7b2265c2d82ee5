"""``lockstep drain`` and ``lockstep undrain``: take this node out of service in order, and back."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from announcer.cli.client import (
    EXIT_NO,
    EXIT_UNREACHABLE,
    UnreachableError,
    fetch,
    json_option,
    print_json,
    state_dir_option,
)
from announcer.run.drain import OPERATOR, DrainFile

#: How long an agent that runs may take to notice.
_NOTICE_SECONDS = 5.0
_POLL_SECONDS = 0.1


@click.command()
@click.option("--wait", is_flag=True, help="End when no router sends anything here any more.")
@click.option("--timeout", type=float, default=120.0, show_default=True, help="With --wait: give up after, seconds.")
@state_dir_option
@json_option
def drain(wait: bool, timeout: float, state_dir: Path, as_json: bool) -> None:
    """Take this node out of service.

    Its routes are marked with GRACEFUL_SHUTDOWN (RFC 8326), then withdrawn; then packets cease. Pod CIDRs stay
    announced and sessions stay up. The drain holds over restarts of the agent, until `lockstep undrain`.

    Ends with 0; with 1 if it is not over in time; with 3 if no agent answers. The drain is noted in any case.
    """
    DrainFile(state_dir).set(datetime.now(UTC).isoformat(timespec="seconds"))
    seen = _await(state_dir, lambda drain: bool(drain["requested"]), _NOTICE_SECONDS)
    if wait:
        seen = _await(state_dir, lambda drain: drain["state"] == "drained", timeout)
    _print(seen, as_json)
    sys.exit(EXIT_NO if wait and seen["state"] != "drained" else 0)


@click.command()
@state_dir_option
@json_option
def undrain(state_dir: Path, as_json: bool) -> None:
    """Put this node into service again.

    Ends with 0; with 1 if something else still keeps it drained (a label, an annotation, a taint, a cordon); with 3 if
    no agent answers.
    """
    DrainFile(state_dir).clear()
    # The agent hears of it before it has decided anew: until then the old decision still says that the node leaves.
    seen = _await(state_dir, lambda drain: not drain["requested"] and OPERATOR not in drain["by"], _NOTICE_SECONDS)
    _print(seen, as_json)
    sys.exit(EXIT_NO if seen["state"] != "none" else 0)


def _await(state_dir: Path, done: Any, seconds: float) -> dict[str, Any]:
    """The drain as the agent sees it, as soon as it is ``done`` or time is over. Ends with 3 if no agent answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen: dict[str, Any] = fetch(state_dir, "/v1/status")["drain"]
        except UnreachableError as error:
            click.echo(f"lockstep: {error}", err=True)
            click.echo("It is noted all the same, and counts when an agent starts with this state folder.", err=True)
            sys.exit(EXIT_UNREACHABLE)
        if done(seen) or time.monotonic() >= deadline:
            return seen
        time.sleep(_POLL_SECONDS)


def _print(seen: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"schema": "lockstep.drain/v1", **seen})
        return
    words = f" ({', '.join(seen['by'])})" if seen["by"] else ""
    click.echo({"none": "in service", "draining": "draining", "drained": "drained"}[seen["state"]] + words)
    for vip in seen["vips"]:
        click.echo(f"  {vip}: still on its way out")
    for vip in seen["kept"]:
        click.echo(f"  {vip}: kept, too few other nodes would announce it")
