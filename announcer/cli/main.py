"""``lockstep``: the group that holds all commands.

A command's module is imported only when the command runs: the speaker must not pay for the datapath, nor a status
question for either.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

#: Command name to ``module:attribute``, in the order in which help lists them.
_COMMANDS = {
    "demo": "announcer.cli.demo:demo",
    "run": "announcer.cli.run:run",
    "speaker": "announcer.cli.speaker:speaker",
    "allocate": "announcer.cli.allocate:allocate",
    "check": "announcer.cli.check:check",
    "status": "announcer.cli.status:status",
    "explain": "announcer.cli.explain:explain",
    "routes": "announcer.cli.routes:routes",
    "plan": "announcer.cli.plan:plan",
    "drain": "announcer.cli.drain:drain",
    "undrain": "announcer.cli.drain:undrain",
    "replay": "announcer.cli.replay:replay",
    "trace": "announcer.cli.trace:trace",
    "uninstall": "announcer.cli.uninstall:uninstall",
}


class _LazyGroup(click.Group):
    """Finds commands by name and imports them on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if there is none of this name."""
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="lockstep-bgp", prog_name="lockstep")
def cli() -> None:
    """Announce Pod CIDRs and LoadBalancer VIPs over BGP, and serve the VIPs in eBPF, in lockstep."""


def main() -> None:
    """Entry point. A reader that goes away (``| head``) is no error of ours."""
    try:
        cli()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
