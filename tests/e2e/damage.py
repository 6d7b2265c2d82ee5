"""What somebody else on a node may take away or change behind Lockstep's back. Each acts on the first node."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.e2e.cluster import Cluster, exabgp_pid, speaker_pid
from tests.lab import network
from tests.lab.agents import NodeAgent

_REPAIRS = 'lockstep_repairs_total{{kind="{}"}}'


class Damage(NamedTuple):
    """``counter``: the metric that counts its repair."""

    name: str
    act: Callable[[Cluster], None]
    counter: str


def detach_ingress(agent: NodeAgent) -> None:
    """By the links: a program on a link cannot be taken away with ``ip link set xdp off``."""
    for path in _links(agent, "xdp"):
        agent.node.run(["bpftool", "link", "detach", "pinned", path])


@contextlib.contextmanager
def frozen(*agents: NodeAgent) -> Iterator[None]:
    """They stand still: what is done meanwhile is one moment to them, and what comes of it stays until it was seen."""
    for agent in agents:
        os.kill(agent.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for agent in agents:
            os.kill(agent.pid, signal.SIGCONT)


@contextlib.contextmanager
def foreign_program(agent: NodeAgent, built: Path) -> Iterator[None]:
    """Another XDP program takes the device while the agent does not look: that is not ours to remove.

    ``built``: an object file with a program in the section ``xdp``, such as ``pass.o`` of the lab.
    """
    with frozen(agent):
        detach_ingress(agent)
        agent.node.run(["ip", "link", "set", "dev", "eth0", "xdp", "obj", built, "sec", "xdp"])
    try:
        yield
    finally:
        agent.node.run(["ip", "link", "set", "dev", "eth0", "xdp", "off"])


def _links(agent: NodeAgent, word: str) -> list[Path]:
    return [path for path in (agent.node.bpffs / "links").iterdir() if word in path.name]


def _detach_egress(made: Cluster) -> None:
    """By a tcx link where the kernel has those, else by a filter of tc."""
    agent = made.agents[0]
    for path in (links := _links(agent, "tcx")):
        agent.node.run(["bpftool", "link", "detach", "pinned", path])
    if not links:
        agent.node.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])


def _delete_pins(made: Cluster) -> None:
    agent = made.agents[0]
    with frozen(agent):
        for folder in ("links", "progs", "maps"):
            for path in (agent.node.bpffs / folder).iterdir():
                path.unlink()


def _unmount(made: Cluster) -> None:
    subprocess.run(["umount", "--lazy", made.agents[0].node.bpffs], check=True)


def _delete_frontend(made: Cluster) -> None:
    agent, path = made.agents[0], _map(made, "lb_frontends")
    shown = json.loads(agent.node.run(["bpftool", "--json", "map", "dump", "pinned", path]).stdout)
    agent.node.run(["bpftool", "map", "delete", "pinned", path, "key", *shown[0]["key"]])


def _overwrite_backends(made: Cluster) -> None:
    """Enough ids that some are of backends, however often these have got new ones (``datapath/numbering.py``)."""
    agent, path = made.agents[0], _map(made, "lb_backends")
    size = json.loads(agent.node.run(["bpftool", "--json", "map", "show", "pinned", path]).stdout)["bytes_value"]
    lines = [f"map update pinned {path} key {number} 0 0 0 value {'255 ' * size}" for number in range(256)]
    with frozen(agent):
        agent.node.run(["bpftool", "batch", "file", "-"], input="\n".join(lines))


def _map(made: Cluster, name: str) -> Path:
    return made.agents[0].node.bpffs / "maps" / name


def _replace_device(made: Cluster) -> None:
    """Deleted and made again with the same addresses, as when a bond or a virtual function is set up anew."""
    agent, router, plan = made.agents[0], made.lab.router, made.lab.plan
    node = agent.node
    (before,) = json.loads(node.run(["ip", "-j", "link", "show", network.UPLINK]).stdout)
    node.run(["ip", "link", "del", network.UPLINK])
    line = network.uplink(node.plan, {node.name: node.netns, "router": router.netns})
    subprocess.run(["ip", *line.split()], check=True)
    node.run(["ip", "link", "set", network.UPLINK, "address", before["address"]])
    for host, setup in zip((router, node), network.uplink_setups(plan, node.plan), strict=True):
        host.run(["sh", "-c", setup.script(made.lab.folder / "pass.o")])


def _kill_speaker(made: Cluster) -> None:
    os.kill(speaker_pid(made.agents[0]), signal.SIGKILL)


def _kill_exabgp(made: Cluster) -> None:
    os.kill(exabgp_pid(made.agents[0]), signal.SIGKILL)


#: Those that leave packets passing or cost only the programs of this node for a moment.
OF_THE_DATAPATH = (
    Damage("ingress-detached", lambda made: detach_ingress(made.agents[0]), _REPAIRS.format("link")),
    Damage("egress-detached", _detach_egress, _REPAIRS.format("link")),
    Damage("pins-deleted", _delete_pins, _REPAIRS.format("pin")),
    Damage("bpffs-unmounted", _unmount, _REPAIRS.format("pin")),
    Damage("frontend-deleted", _delete_frontend, _REPAIRS.format("entry")),
    Damage("backends-overwritten", _overwrite_backends, _REPAIRS.format("entry")),
)
#: Those that take the session with them, or the way to the router.
OF_THE_REST = (
    Damage("device-replaced", _replace_device, _REPAIRS.format("device")),
    Damage("speaker-killed", _kill_speaker, _REPAIRS.format("speaker")),
    Damage("exabgp-killed", _kill_exabgp, 'lockstep_bgp_engine_restarts_total{cause="exited"}'),
)
