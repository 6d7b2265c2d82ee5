"""``lockstep plan``: what another bgp-config would do, before it does it."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import click

from announcer.cli.client import EXIT_NO, ask, json_option, print_json, state_dir_option

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command()
@click.option(
    "--config",
    "config_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The bgp-config to try, bare or in a ConfigMap.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Try it against this folder of manifests, without an agent.",
)
@click.option("--node-name", default=socket.gethostname, show_default="host name", help="With --source: which node.")
@state_dir_option
@json_option
def plan(config_file: Path, source: Path | None, node_name: str, state_dir: Path, as_json: bool) -> None:
    """Say which sessions would reset and why, which routes and VIPs would come, change and go.

    Ends with 0, also if nothing would change, and with 1 if the configuration would be refused.
    """
    data = config_file.read_bytes()
    if source is None:
        answer = ask(state_dir, "/v1/plan", body=data)
        for problem in answer["problems"]:
            problem["file"] = str(config_file)
    else:
        answer = _offline(source, node_name, data, str(config_file))
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    sys.exit(0 if answer["valid"] else EXIT_NO)


def _offline(source: Path, node_name: str, data: bytes, file: str) -> dict[str, Any]:
    from announcer.inputs import absorb, config_from_objects
    from announcer.snapshot import ConfigView, Snapshot
    from announcer.sources.events import Replace
    from announcer.sources.folder import FolderSource
    from announcer.status.preview import plan_answer

    async def first() -> Replace:
        return await anext(FolderSource(source).events())

    event = asyncio.run(first())
    for problem in event.problems:
        click.echo(f"lockstep: {problem}", err=True)
    view = config_from_objects(ConfigView(), event.objects)
    snapshot = absorb(Snapshot(revision=0, node_name=node_name), event, view, standalone=True)
    return plan_answer(snapshot, data, file)


def _print(answer: dict[str, Any]) -> None:
    for problem in answer["problems"]:
        place = f"{problem['file']}:{problem['line']}: {problem['path']}"
        click.echo(f"{place}: {problem['problem']}" + (f" ({problem['hint']})" if problem["hint"] else ""))
    if not answer["valid"]:
        click.echo("it would be refused, and what is in force would stay")
        return
    if not answer["changes"]:
        click.echo("nothing would change")
    for session in answer["sessions"]:
        what = {"added": "starts", "removed": "ends", "changed": f"is reset: {_names(session['fields'])} differ"}
        click.echo(f"{_SIGNS[session['change']]} session {session['peer']} {what[session['change']]}")
    for vip in answer["vips"]:
        fate = "would be announced" if vip["change"] == "added" else f"would no longer be announced: {vip['reason']}"
        click.echo(f"{_SIGNS[vip['change']]} vip {vip['vip']} ({', '.join(vip['services'])}) {fate}")
    for route in answer["routes"]:
        fields = f" ({_names(route['fields'])})" if route["fields"] else ""
        click.echo(f"{_SIGNS[route['change']]} route {route['prefix']} to {route['peer']}{fields}")
    click.echo(f"sessions not touched: {', '.join(answer['kept_sessions']) or 'none'}")


def _names(fields: list[str]) -> str:
    """Field names as the bgp-config spells them."""
    return ", ".join(field.replace("_", "-") for field in fields)
