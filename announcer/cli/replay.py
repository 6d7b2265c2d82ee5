"""``lockstep replay``: decide again, offline, what a recording says was decided."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from announcer.cli.client import EXIT_NO, EXIT_WRONG_USE, json_option, print_json
from announcer.record.replay import Finding
from announcer.record.replay import replay as replay_lines


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--show", is_flag=True, help="Print every plan that has steps, with its time.")
@click.option("--edited", is_flag=True, help="The file was changed on purpose: only ask whether it is decided as then.")
@json_option
def replay(file: Path, show: bool, edited: bool, as_json: bool) -> None:
    """Decide again, offline, what FILE (from `lockstep run --record`) says was decided.

    Ends with 0 if every decision and every plan is the same; with 1 if one is not, or if a line was changed.
    """
    counts: Counter[str] = Counter()
    problems: list[Finding] = []
    with file.open("rb") as lines:
        for finding in replay_lines(lines, check_sums=not edited):
            counts[finding.kind] += 1
            if finding.problem:
                problems.append(finding)
            if show and finding.steps and not as_json:
                click.echo(f"{finding.t:.3f}  " + "\n               ".join(finding.steps))
    if not counts:
        click.echo(f"lockstep: {file} holds no recording", err=True)
        sys.exit(EXIT_WRONG_USE)
    if as_json:
        found = [{"line": one.line, "problem": one.problem} for one in problems]
        print_json({"schema": "lockstep.replay/v1", "file": str(file), "lines": dict(counts), "problems": found})
    else:
        for one in problems[:20]:
            click.echo(f"{file}:{one.line}: {one.problem}")
        verdict = f"{len(problems)} problems" if problems else "all as then"
        click.echo(
            f"{file}: {counts['inputs']} decisions, {counts['plan']} plans, {sum(counts.values())} lines: {verdict}"
        )
    sys.exit(EXIT_NO if problems else 0)
