"""``lockstep speaker``: ExaBGP and its relay on their own, so that the agent can restart without touching a session."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from announcer.cli.client import state_dir_option


@click.command()
@state_dir_option
def speaker(state_dir: Path) -> None:
    """Run the BGP speaker of this node.

    SIGTERM withdraws every route, waits until that was sent, and ends. The agent (`lockstep run`) starts one by itself
    unless told --no-spawn-speaker.
    """
    from announcer.logs import set_up_logging
    from bgpd.settings import SpeakerSettings
    from bgpd.speaker import run_speaker

    set_up_logging()
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    sys.exit(asyncio.run(run_speaker(SpeakerSettings(state_dir=state_dir.absolute()))))
