"""``lockstep trace``: what the attached program would do with a packet, without sending it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from announcer.cli.client import ask, json_option, print_json, state_dir_option


@click.command()
@click.option("--from", "source", required=True, metavar="ADDR:PORT", help="Where the packet comes from.")
@click.option("--to", "target", required=True, metavar="ADDR:PORT", help="Where it wants to go.")
@click.option("--proto", type=click.Choice(["tcp", "udp", "sctp"]), default="tcp", show_default=True)
@click.option("--device", help="The device it arrives on; the first ingress device if not given.")
@state_dir_option
@json_option
def trace(source: str, target: str, proto: str, device: str | None, state_dir: Path, as_json: bool) -> None:
    """Run a packet through the attached program and show its verdict, its backend and what becomes of it."""
    query = {"from": source, "to": target, "proto": proto}
    if device:
        query["device"] = device
    answer = ask(state_dir, "/v1/trace", query)
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _print(answer: dict[str, Any]) -> None:
    for name, value in answer.items():
        if name == "schema" or value is None:
            continue
        if isinstance(value, dict):
            value = "  ".join(f"{key}={part}" for key, part in value.items() if part is not None)
        elif isinstance(value, list):
            value = ", ".join(value) or "nobody"
        click.echo(f"{name.replace('_', ' '):<12} {value}")
