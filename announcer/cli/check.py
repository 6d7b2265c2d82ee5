"""``lockstep check``: is this bgp-config valid, and if not, what is wrong with it?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from announcer.cli.client import EXIT_WRONG_USE, json_option, print_json
from announcer.config import MAX_BYTES, load
from announcer.config.originals import Dialect, inspect
from announcer.config.report import to_json, to_text, with_remarks


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--dialect",
    type=click.Choice(["auto", *(one.value for one in Dialect)]),
    default="auto",
    show_default=True,
    help="Say also what this original would have refused, misread or done differently; auto says nothing of originals.",
)
@json_option
def check(file: Path, dialect: str, as_json: bool) -> None:
    """Validate the bgp-config in FILE (- is standard input): bare YAML, or a ConfigMap that holds it as config.yaml.

    All problems are shown at once, each with line and key path. Exits with 0 if the file is valid, 1 if it is not, and
    2 if it cannot be read. Remarks (--dialect) do not change that: a file is valid if lockstep run takes it.
    """
    standard_input = str(file) == "-"
    name = "<stdin>" if standard_input else str(file)
    try:
        # One byte more than is allowed is enough to see that a file is too large, however large it is.
        with click.open_file(str(file), "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        click.echo(f"lockstep: {name} cannot be read: {error.strerror}", err=True)
        sys.exit(EXIT_WRONG_USE)
    remarks = () if dialect == "auto" else inspect(data, Dialect(dialect))
    result, alone = with_remarks(load(data, name), remarks)
    if as_json:
        print_json(to_json(result, name, alone))
    else:
        click.echo(to_text(result, name, alone))
    sys.exit(0 if result.config is not None else 1)
