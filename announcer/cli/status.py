"""``lockstep status``: peers, VIPs, Pod CIDRs, devices, consistency."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from announcer.cli.client import ask, json_option, print_json, state_dir_option

_WATCH_SECONDS = 1.0
_PIPE_WIDTH = 160


@click.command()
@state_dir_option
@json_option
@click.option("--watch", is_flag=True, help="Stay and show changes, until interrupted.")
def status(state_dir: Path, as_json: bool, watch: bool) -> None:
    """Show what this node announces and serves.

    Ends with 0 if the agent answers; whether one VIP is announced is what `lockstep explain` says.
    """
    if as_json:
        if watch:
            raise click.UsageError("--watch shows tables; with --json, ask as often as you like")
        print_json(ask(state_dir, "/v1/status"))
        return
    # Into a pipe or a file goes the whole width: nobody resizes those.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    if not watch:
        console.print(_render(ask(state_dir, "/v1/status")))
        return
    with Live(_render(ask(state_dir, "/v1/status")), console=console, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(_WATCH_SECONDS)
                live.update(_render(ask(state_dir, "/v1/status")), refresh=True)
        except KeyboardInterrupt:
            pass


def _render(seen: dict[str, Any]) -> Group:
    return Group(_head(seen), *_problems(seen), _peers(seen), _vips(seen), _pod_cidrs(seen), _devices(seen))


def _head(seen: dict[str, Any]) -> Text:
    text = Text(f"node {seen['node']}  revision {seen['revision']}  bgp-config ")
    state = seen["config"]["state"]
    text.append(state, "green" if state == "applied" else "red")
    synced = seen["sources"]["synced"]
    text.append("  sources ")
    text.append("synced" if synced else "not synced", "green" if synced else "red")
    if seen["drain"]["state"] != "none":
        text.append(f"  {seen['drain']['state']} ({', '.join(seen['drain']['by'])})", "yellow")
    if seen["datapath"]["lb_mode"]:
        text.append(f"  mode {seen['datapath']['lb_mode']}")
    forwarder = seen["datapath"]["forwarder"]
    if forwarder is not None:
        text.append("  forwarding by ")
        health = "healthy" if forwarder["healthy"] else "not healthy"
        text.append(f"{forwarder['name']}, {health}", "green" if forwarder["healthy"] else "red")
    violations = seen["consistency"]["violations"]
    text.append("  consistency ")
    text.append(f"{violations} violations", "red" if violations else "green")
    return text


def _problems(seen: dict[str, Any]) -> list[Text]:
    found = [
        f"{error['file']}:{error['line']}: {error['path']}: {error['problem']}" for error in seen["config"]["errors"]
    ]
    found += seen["sources"]["problems"]
    found += [f"speaker: {seen['speaker']['problem']}"] if seen["speaker"]["problem"] else []
    found += [f"datapath: {seen['datapath']['problem']}"] if seen["datapath"]["problem"] else []
    forwarder = seen["datapath"]["forwarder"]
    found += [f"{forwarder['name']}: {forwarder['problem']}"] if forwarder and forwarder["problem"] else []
    found += [f"peer {peer['name']}: {peer['reason']}: {peer['detail']}" for peer in seen["refused_peers"]]
    found += [f"{service['service']}: {service['reason']}: {service['detail']}" for service in seen["services"]]
    found += [
        f"{check['service']}: health check: {check['problem']}" for check in seen["health_checks"] if check["problem"]
    ]
    return [Text(text, "red") for text in found]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _good(text: str, good: bool) -> Text:
    return Text(text, "green" if good else "yellow")


def _peers(seen: dict[str, Any]) -> Table:
    table = _table("\nPEERS", "peer", "asn", "local asn", "state", "since", "desired", "acked", "sent", "last error")
    for peer in seen["peers"]:
        routes = [str(peer["routes"][name]) for name in ("desired", "acknowledged", "sent")]
        state = _good(peer["state"], peer["state"] == "Established")
        table.add_row(
            peer["name"], str(peer["asn"]), str(peer["local_asn"]), state, peer["since"] or "", *routes,
            peer["last_error"] or "",
        )  # fmt: skip
    return table


def _vips(seen: dict[str, Any]) -> Table:
    table = _table("\nVIPS", "vip", "state", "why", "serving", "local", "proof age", "services")
    for vip in seen["vips"]:
        why = ": ".join(part for part in (vip["reason"], vip["detail"]) if part)
        counted, proof = vip["backends"], vip["proof"]
        age = "" if proof is None else f"{proof['age_seconds']:.1f} s{'' if proof['ok'] else ' (failed)'}"
        state = _good(vip["state"], vip["state"] == "Announced")
        serving = f"{counted['serving']}/{counted['total']}"
        table.add_row(vip["vip"], state, why, serving, str(counted["local"]), age, ", ".join(vip["services"]))
    return table


def _pod_cidrs(seen: dict[str, Any]) -> Table:
    table = _table("\nPOD CIDRS", "prefix", "state", "why")
    for pod in seen["pod_cidrs"]:
        why = ": ".join(part for part in (pod["reason"], pod["detail"]) if part)
        table.add_row(pod["prefix"], _good(pod["state"], pod["state"] == "Announced"), why)
    return table


def _devices(seen: dict[str, Any]) -> Table:
    table = _table("\nDEVICES", "device", "hook", "attached", "problem")
    for device in seen["datapath"]["devices"]:
        attached = _good("yes" if device["attached"] else "no", device["attached"])
        table.add_row(device["name"], device["hook"] or "", attached, device["problem"] or "")
    return table
