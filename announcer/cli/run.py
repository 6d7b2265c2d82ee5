"""``lockstep run``: the agent of one node."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import click

from announcer.cli.client import EXIT_NO, EXIT_WRONG_USE, state_dir_option
from announcer.inputs import CONFIG_MAP_NAME
from announcer.logs import set_up_logging
from announcer.model.lb import DEFAULT_SNAT_PORTS, LbMode, PortRange
from announcer.model.objects import ObjectKey
from announcer.run.settings import (
    DEFAULT_BPFFS,
    DEFAULT_KUBE_PROXY_HEALTH,
    DEFAULT_STATUS_LISTEN,
    AgentSettings,
)
from announcer.snapshot import DEFAULT_NAMESPACE
from datapath.limits import Limits


@click.command()
@click.option(
    "--source",
    required=True,
    metavar="kube|DIR",
    help="kube: the API server of the cluster. Else a folder with Kubernetes objects as YAML. Both are followed live.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --source kube: how to reach the API server. Default: as a pod, or the user's kubeconfig.",
)
@click.option(
    "--config-map",
    default=f"{DEFAULT_NAMESPACE}/{CONFIG_MAP_NAME}",
    show_default=True,
    metavar="NAMESPACE/NAME",
    help="With --source kube: the ConfigMap; the Secrets that it names are in its namespace.",
)
@click.option(
    "--node-name", default=socket.gethostname, show_default="host name", help="Which Node object is this one."
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="bgp-config file. Default: the ConfigMap bgp-config of the source, key config.yaml.",
)
@state_dir_option
@click.option(
    "--bpffs",
    type=click.Path(path_type=Path),
    default=DEFAULT_BPFFS,
    show_default=True,
    help="Where programs, maps and links are pinned; a BPF file system is mounted there if need be.",
)
@click.option(
    "--status-listen",
    multiple=True,
    default=(DEFAULT_STATUS_LISTEN,),
    show_default=True,
    metavar="ADDRESS:PORT|unix:PATH",
    help="Where the status endpoint listens, besides the state folder.",
)
@click.option(
    "--metrics-listen",
    multiple=True,
    metavar="ADDRESS:PORT",
    help="Where /metrics, /healthz and /readyz are answered as well, and nothing else: for scrapers on other machines.",
)
@click.option("--metrics-aliases", is_flag=True, help="Also metrics under the names of MetalLB's speaker.")
@click.option(
    "--devices",
    default="auto",
    show_default=True,
    metavar="auto|NAME,…",
    help="Devices on which packets for VIPs arrive.",
)
@click.option(
    "--map-size",
    "map_sizes",
    multiple=True,
    metavar="MAP=ENTRIES",
    help="How many entries a map has, by its name in the status; see docs/limits.md. Other sizes need other maps: "
    "drain and uninstall first.",
)
@click.option(
    "--lb-mode",
    default=LbMode.DSR.value,
    show_default=True,
    metavar="|".join(LbMode),
    help="How backends on other nodes get packets: by DSR, in IP in IP to the Pod or in Geneve to its node (they "
    "answer the client themselves); by SNAT (from an address of this node, to which they answer); or UDP by SNAT and "
    "the rest by either DSR. A Service may say otherwise.",
)
@click.option(
    "--snat-ports",
    default=str(DEFAULT_SNAT_PORTS),
    show_default=True,
    metavar="FIRST-LAST",
    help="Ports of this node for SNAT. They must not overlap with net.ipv4.ip_local_port_range.",
)
@click.option(
    "--datapath/--no-datapath",
    "own_datapath",
    default=True,
    show_default=True,
    help="Forward with Lockstep's own programs; else announce only, and kube-proxy forwards.",
)
@click.option(
    "--kube-proxy-health",
    default=DEFAULT_KUBE_PROXY_HEALTH,
    show_default=True,
    metavar="URL",
    help="With --no-datapath: where kube-proxy says how it is. A VIP is announced only while that answers 200.",
)
@click.option(
    "--icmp-echo/--no-icmp-echo",
    default=True,
    show_default=True,
    help="Answer ICMP echo requests to VIPs that are served; off: they are dropped.",
)
@click.option(
    "--spawn-speaker/--no-spawn-speaker",
    default=True,
    show_default=True,
    help="Start `lockstep speaker` when none answers.",
)
@click.option(
    "--health-check-node-ports/--no-health-check-node-ports",
    default=True,
    show_default=True,
    help="Answer load balancers on the healthCheckNodePort of Services; off where the cluster's own proxy does.",
)
@click.option(
    "--drain-on-exit",
    type=click.FloatRange(min=0),
    default=None,
    metavar="SECONDS",
    help="On SIGTERM drain this node first, for so long at most. For a planned exit, not for an upgrade.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Record everything that is seen and decided, without secrets; see `lockstep replay`.",
)
@click.option(
    "--record-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="MIB",
    help="Bound of FILE and FILE.1 together.",
)
def run(
    source: str,
    kubeconfig: Path | None,
    config_map: str,
    node_name: str,
    config_file: Path | None,
    state_dir: Path,
    bpffs: Path,
    status_listen: tuple[str, ...],
    metrics_listen: tuple[str, ...],
    metrics_aliases: bool,
    devices: str,
    map_sizes: tuple[str, ...],
    lb_mode: str,
    snat_ports: str,
    own_datapath: bool,
    kube_proxy_health: str,
    icmp_echo: bool,
    spawn_speaker: bool,
    health_check_node_ports: bool,
    drain_on_exit: float | None,
    record: Path | None,
    record_size: int,
) -> None:
    """Run the agent: announce what this node can serve, and serve what it announces.

    SIGTERM ends the agent alone. Forwarding and BGP sessions go on, and the next agent picks them up; with
    --drain-on-exit the routes to VIPs are taken back first, in order.
    """
    from announcer.run.main import StartError, run_agent

    settings = AgentSettings(
        node_name=node_name,
        source=_source_folder(source),
        kubeconfig=kubeconfig,
        config_map=_key(config_map),
        config_file=config_file,
        state_dir=state_dir.absolute(),
        bpffs=bpffs.absolute(),
        devices=None if devices == "auto" else tuple(name for name in devices.split(",") if name),
        limits=_limits(map_sizes),
        lb_mode=_lb_mode(lb_mode, own_datapath),
        snat_ports=_snat_ports(snat_ports),
        status_listen=status_listen,
        metrics_listen=metrics_listen,
        metrics_aliases=metrics_aliases,
        icmp_echo=icmp_echo,
        spawn_speaker=spawn_speaker,
        # With kube-proxy it is kube-proxy that answers there, and is asked.
        health_check_node_ports=health_check_node_ports and own_datapath,
        kube_proxy_health=None if own_datapath else _http_url(kube_proxy_health),
        drain_on_exit=drain_on_exit,
        record=record.absolute() if record is not None else None,
        record_bytes=record_size << 20,
    )
    set_up_logging()
    try:
        asyncio.run(run_agent(settings))
    except StartError as error:
        click.echo(f"lockstep: {error}", err=True)
        sys.exit(EXIT_NO)


def _source_folder(source: str) -> Path | None:
    if source == "kube":
        return None
    folder = Path(source)
    if not folder.is_dir():
        _wrong(f"--source: {folder} is not a folder")
    return folder


def _limits(map_sizes: tuple[str, ...]) -> Limits:
    sizes: dict[str, int] = {}
    try:
        for text in map_sizes:
            name, equals, number = text.partition("=")
            if not (equals and number.isascii() and number.isdecimal()):
                raise ValueError(f'"{text}" is not MAP=ENTRIES, for example lb_backends=524288')
            sizes[name] = int(number)
        return Limits.of(sizes)
    except ValueError as error:
        _wrong(f"--map-size: {error}")


def _lb_mode(word: str, own_datapath: bool) -> LbMode:
    if word not in tuple(LbMode):
        _wrong(f"--lb-mode: {word} is not one of {', '.join(LbMode)}")
    if word != LbMode.DSR and not own_datapath:
        _wrong(f"--lb-mode: {word} is for Lockstep's own programs; with --no-datapath kube-proxy forwards as it does")
    return LbMode(word)


def _snat_ports(text: str) -> PortRange:
    try:
        return PortRange.parse(text)
    except ValueError as error:
        _wrong(f"--snat-ports: {error}")


def _wrong(problem: str) -> NoReturn:
    click.echo(f"lockstep: {problem}", err=True)
    sys.exit(EXIT_WRONG_USE)


def _http_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        _wrong(f"--kube-proxy-health: {text} is no http URL")
    return text


def _key(text: str) -> ObjectKey:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name):
        _wrong(f"--config-map: {text} is not NAMESPACE/NAME")
    return ObjectKey(namespace, name)
