"""``lockstep uninstall``: remove from the kernel what Lockstep pinned and attached, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from announcer.cli.client import EXIT_NO
from announcer.model.errors import TargetError
from announcer.run.settings import DEFAULT_BPFFS


@click.command()
@click.option(
    "--bpffs",
    type=click.Path(path_type=Path),
    default=DEFAULT_BPFFS,
    show_default=True,
    help="The agent's bpffs folder.",
)
def uninstall(bpffs: Path) -> None:
    """Detach the programs and remove all pins and neighbours of an agent that is not running.

    End its speaker first (SIGTERM): its routes would draw packets to a node that no longer serves them.
    """
    from datapath.uninstall import uninstall as remove

    try:
        remove(bpffs.absolute())
    except TargetError as error:
        click.echo(f"lockstep: {error}", err=True)
        sys.exit(EXIT_NO)
    click.echo(f"removed everything of ours under {bpffs}")
