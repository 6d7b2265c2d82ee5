"""``lockstep explain``: why a VIP or Service is announced, or exactly why it is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from announcer.cli.client import EXIT_NO, ask, json_option, print_json, state_dir_option


@click.command()
@click.argument("target", metavar="VIP|NAMESPACE/NAME")
@state_dir_option
@json_option
def explain(target: str, state_dir: Path, as_json: bool) -> None:
    """Explain the whole decision about a VIP or a Service.

    Ends with 0 if it is announced, with 1 and one reason code if it is not.
    """
    answer = ask(state_dir, "/v1/explain", {"target": target})
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    sys.exit(0 if answer["announced"] else EXIT_NO)


def _print(answer: dict[str, Any]) -> None:
    if answer["announced"]:
        click.echo(f"{answer['target']}: announced")
    else:
        detail = f": {answer['detail']}" if answer["detail"] else ""
        click.echo(f"{answer['target']}: not announced: {answer['reason']}{detail}")
    for note in (answer.get("service") or {}).get("notes", ()):
        click.echo(f"  note: {note}")
    for vip in answer["vips"]:
        _print_vip(vip)


def _print_vip(vip: dict[str, Any]) -> None:
    click.echo(f"\nVIP {vip['vip']}  {vip['state']}  pool {vip['pool'] or 'none'}")
    for service in vip["services"]:
        click.echo(
            f"  service   {service['service']}: {service['allocation']}, traffic policy {service['traffic_policy']}"
        )
        for note in service["notes"]:
            click.echo(f"            note: {note}")
    for frontend in vip["frontends"]:
        _print_frontend(frontend)
    proof = vip["proof"]
    if proof is None:
        click.echo("  proof     none made")
    else:
        verdict = "good" if proof["ok"] else f"failed: {proof['problem']}"
        click.echo(f"  proof     {verdict} ({proof['age_seconds']:.1f} s ago)")
    for device in vip["devices"]:
        attached = f"attached ({device['hook']})" if device["attached"] else f"not attached: {device['problem']}"
        click.echo(f"  device    {device['name']}: {attached}")
    for peer in vip["peers"]:
        _print_peer(peer)


def _print_frontend(frontend: dict[str, Any]) -> None:
    state = "programmed" if frontend["programmed"] else "not programmed"
    damage = f", damaged: {frontend['damage']}" if frontend["damage"] else ""
    remote = any(not backend["local"] for backend in (*frontend["backends"], *frontend["terminating"]))
    mode = f", {frontend['mode']} to other nodes" if remote else ""
    click.echo(f"  frontend  {frontend['frontend']}: {state}{damage}{mode}, {len(frontend['backends'])} backends")
    if frontend["source_ranges"] is not None:
        click.echo(f"              lets in {', '.join(frontend['source_ranges']) or 'nobody'}")
    for backend in frontend["backends"]:
        click.echo(f"              {_place(backend)}")
    for backend in frontend["terminating"]:
        click.echo(f"              {_place(backend)}, nothing new, but what it has")


def _place(backend: dict[str, Any]) -> str:
    by_its_node = f", by its node {backend['node']}" if backend["node"] else ""
    return f"{backend['address']}:{backend['port']} {'local' if backend['local'] else 'remote' + by_its_node}"


def _print_peer(peer: dict[str, Any]) -> None:
    if not peer["selected"]:
        click.echo(f"  peer      {peer['peer']}: {peer['reason']}: {peer['detail']}")
        return
    error = f" ({peer['last_error']})" if peer["last_error"] else ""
    click.echo(f"  peer      {peer['peer']}: session {peer['session'] or 'not configured'}{error}")
    for route in peer["routes"]:
        words = [word for word in ("desired", "acknowledged", "sent", "withdrawing") if route[word]]
        reason = f" - {route['reason']}: {route['detail']}" if route["reason"] else ""
        shown = ", ".join(words) or "not desired"
        extra = route["attributes"] or {}
        communities = f" communities {' '.join(extra['communities'])}" if extra.get("communities") else ""
        preference = f" local-pref {extra['local_pref']}" if extra.get("local_pref") is not None else ""
        click.echo(f"              {route['prefix']}{communities}{preference}: {shown}{reason}")
