"""``lockstep allocate``: LB IPAM for a cluster."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from pathlib import Path

import click

from announcer.cli.client import EXIT_NO, EXIT_WRONG_USE
from announcer.model.objects import ObjectKey


def _object_key(_: click.Context, __: click.Parameter, text: str) -> ObjectKey:
    namespace, _sep, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise click.BadParameter("write NAMESPACE/NAME")
    return ObjectKey(namespace, name)


@click.command()
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="How to reach the API server. Default: as a pod, or the user's own.",
)
@click.option(
    "--config-map",
    default="kube-system/bgp-config",
    show_default=True,
    callback=_object_key,
    metavar="NAMESPACE/NAME",
    help="The ConfigMap with the bgp-config, key config.yaml.",
)
@click.option(
    "--lease",
    default="kube-system/lockstep-allocator",
    show_default=True,
    callback=_object_key,
    metavar="NAMESPACE/NAME",
    help="The Lease by which one of several allocators is chosen.",
)
@click.option("--identity", default=socket.gethostname, show_default="host name", help="Name of this one in the Lease.")
@click.option(
    "--listen",
    multiple=True,
    default=("127.0.0.1:9798",),
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Where /healthz, /readyz and /metrics are answered.",
)
@click.option(
    "--config-grace",
    type=click.FloatRange(0, 86400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a new bgp-config must be in force before addresses that it no longer allows are taken away.",
)
@click.option("--metrics-aliases", is_flag=True, help="Also metrics under the names of MetalLB's controller.")
def allocate(
    kubeconfig: Path | None,
    config_map: ObjectKey,
    lease: ObjectKey,
    identity: str,
    listen: tuple[str, ...],
    config_grace: float,
    metrics_aliases: bool,
) -> None:
    """Give Services of type LoadBalancer their addresses, from the pools of the bgp-config.

    Any number may run; one of them writes. SIGTERM ends it and lets another go on at once.
    """
    from announcer.allocator.run import Allocator
    from announcer.allocator.settings import AllocatorSettings
    from announcer.logs import set_up_logging
    from announcer.run.privacy import keep_memory_private
    from announcer.status.http import ListenError

    settings = AllocatorSettings(
        # A container that restarts keeps its name: what was before it must not be taken for itself.
        identity=f"{identity}_{os.getpid()}_{secrets.token_hex(4)}",
        lease=lease,
        config_map=config_map,
        kubeconfig=kubeconfig,
        listen=listen,
        config_grace=config_grace,
        metrics_aliases=metrics_aliases,
    )
    set_up_logging()
    keep_memory_private()
    try:
        asyncio.run(Allocator(settings).run())
    except ListenError as error:
        click.echo(f"lockstep: {error}", err=True)
        sys.exit(EXIT_WRONG_USE if "neither" in str(error) else EXIT_NO)
