"""``lockstep routes``: the Adj-RIB-Out of every peer."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from announcer.cli.client import EXIT_WRONG_USE, ask, json_option, print_json, state_dir_option


@click.command()
@click.option("--peer", "wanted", help="Only this peer.")
@state_dir_option
@json_option
def routes(wanted: str | None, state_dir: Path, as_json: bool) -> None:
    """Show per peer what is desired, what the engine has taken, and what was sent."""
    answer = ask(state_dir, "/v1/routes")
    if wanted is not None:
        names = [peer["peer"] for peer in answer["peers"]]
        if wanted not in names:
            click.echo(f"lockstep: no peer {wanted!r}; there are: {', '.join(names) or 'none'}", err=True)
            sys.exit(EXIT_WRONG_USE)
        answer["peers"] = [peer for peer in answer["peers"] if peer["peer"] == wanted]
    if as_json:
        print_json(answer)
        return
    for peer in answer["peers"]:
        click.echo(f"{peer['peer']}  {peer['state'] or 'not configured'}")
        for route in peer["routes"]:
            words = [word for word in ("desired", "acknowledged", "sent", "withdrawing") if route[word]]
            found = route["attributes"] or {"next_hop": "", "local_pref": None, "communities": []}
            preference = f" local-pref {found['local_pref']}" if found["local_pref"] is not None else ""
            communities = f" communities {' '.join(found['communities'])}" if found["communities"] else ""
            click.echo(f"  {route['prefix']:<20} next-hop {found['next_hop']}{preference}{communities}  "
                       f"{', '.join(words)}")  # fmt: skip
