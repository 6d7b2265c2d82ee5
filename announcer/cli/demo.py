"""``lockstep demo``: the whole road in network namespaces of this machine."""

from __future__ import annotations

import os
import sys

import click

from announcer.cli.client import EXIT_NO, EXIT_WRONG_USE, json_option, print_json


@click.command()
@click.option("--router", type=click.Choice(["bird", "frr"]), default="bird", show_default=True, help="Which router.")
@click.option("--keep", is_flag=True, help="Leave it running and say how to look around.")
@json_option
def demo(router: str, keep: bool, as_json: bool) -> None:
    """Build a client, a router and two nodes, announce a VIP, and send real requests through it.

    Needs root, and a checkout: the lab is part of the tests.
    """
    if os.geteuid() != 0:
        click.echo("lockstep: the demo makes network namespaces and loads BPF programs: run it as root", err=True)
        sys.exit(EXIT_WRONG_USE)
    try:
        from tests.lab.demo import run_demo
        from tests.lab.poll import LabError
    except ImportError as error:
        click.echo(f"lockstep: the demo runs from a checkout, with the test requirements installed: {error}", err=True)
        sys.exit(EXIT_WRONG_USE)

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    try:
        result = run_demo("frr" if router == "frr" else "bird", say, keep=keep)
    except LabError as error:
        click.echo(f"lockstep: {error}", err=True)
        sys.exit(EXIT_NO)
    if as_json:
        print_json({"schema": "lockstep.demo/v1", "ok": result.ok, **result.as_dict()})
    else:
        for problem in result.problems:
            click.echo(f"problem: {problem}")
        click.echo(f"\n{result.summary()}")
    sys.exit(0 if result.ok else EXIT_NO)
