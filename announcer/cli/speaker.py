"""``lockstep speaker``: ExaBGP and its relay on their own, so that the agent can restart without touching a session."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from announcer.cli.client import EXIT_UNREACHABLE, state_dir_option


@click.command()
@click.option("--alive", is_flag=True, help="Run nothing; ask whether the one that runs gives a sign of life.")
@state_dir_option
def speaker(alive: bool, state_dir: Path) -> None:
    """Run the BGP speaker of this node.

    SIGTERM withdraws every route, waits until that was sent, and ends. The agent (`lockstep run`) starts one by itself
    unless told --no-spawn-speaker.
    """
    if alive:
        _ask(state_dir)
        return
    from announcer.logs import set_up_logging
    from bgpd.settings import SpeakerSettings
    from bgpd.speaker import run_speaker

    set_up_logging()
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    sys.exit(asyncio.run(run_speaker(SpeakerSettings(state_dir=state_dir.absolute()))))


def _ask(state_dir: Path) -> None:
    from bgpd.client import SpeakerClient
    from bgpd.settings import SpeakerSettings

    socket = SpeakerSettings(state_dir=state_dir.absolute()).socket

    async def hello() -> int:
        client = SpeakerClient(socket)
        try:
            return await client.hello()
        finally:
            await client.close()

    try:
        click.echo(f"process {asyncio.run(hello())}")
    except (ConnectionError, TimeoutError) as error:
        click.echo(f"lockstep: the speaker of {state_dir} does not answer: {error}", err=True)
        sys.exit(EXIT_UNREACHABLE)
