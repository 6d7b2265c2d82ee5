"""A lab whose nodes run Lockstep, and the things that tests do to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import yaml

from tests.lab import Lab, until
from tests.lab.agents import NodeAgent

VIP = "203.0.113.10"
VIP_ROUTE = f"{VIP}/32"

Manifest = dict[str, Any]


class Cluster:
    """Two nodes that follow the same manifests."""

    def __init__(self, lab: Lab, agents: tuple[NodeAgent, ...]) -> None:
        """The agents need not be running."""
        self.lab = lab
        self.agents = agents

    @property
    def next_hops(self) -> frozenset[str]:
        """The nodes that the router sends packets for the VIP to."""
        return self.lab.router.fib().get(VIP_ROUTE, frozenset())

    def start(self) -> None:
        """Start all agents and wait until the router has every route, and was told that these are all."""
        for agent in self.agents:
            agent.start()
        self.await_vip()
        for agent in self.agents:
            until(lambda agent=agent: _told_all(agent), f"{agent.node.name} has sent End-of-RIB")  # type: ignore[misc]

    def await_vip(self) -> None:
        """Wait until all nodes announce the VIP and the router uses them all."""
        wanted = frozenset(node.address for node in self.lab.nodes)
        until(lambda: self.next_hops == wanted, "the router has the VIP with all next hops", 30)
        for agent in self.agents:
            agent.await_announced(VIP)

    def await_no_vip(self) -> None:
        """Wait until the router has no route to the VIP."""
        until(lambda: not self.next_hops, "the router has no route to the VIP", 10)

    def edit(self, file: str, change: Callable[[Manifest], None]) -> None:
        """Change a manifest on every node, as an editor does it: written beside, then renamed over."""
        for agent in self.agents:
            path = agent.source / file
            manifest = yaml.safe_load(path.read_text())
            change(manifest)
            self.write(agent, file, yaml.safe_dump(manifest))

    def write(self, agent: NodeAgent, file: str, text: str | bytes) -> None:
        """Replace a file of one node's manifests."""
        beside = agent.source / f".{file}.new"
        beside.write_bytes(text if isinstance(text, bytes) else text.encode())
        beside.replace(agent.source / file)

    def delete(self, file: str) -> None:
        """Delete a manifest on every node."""
        for agent in self.agents:
            (agent.source / file).unlink()

    def set_ready(self, ready: Callable[[str], bool]) -> None:
        """Say of every endpoint, by its address, whether it is ready."""

        def change(manifest: Manifest) -> None:
            for endpoint in manifest["endpoints"]:
                is_ready = ready(endpoint["addresses"][0])
                endpoint["conditions"] = {"ready": is_ready, "serving": is_ready, "terminating": False}

        self.edit("endpointslice-web.yaml", change)

    def set_ending(self, *addresses: str, serving: bool) -> None:
        """The endpoints of these addresses terminate, and answer still or no more; all others are ready."""
        self.edit("endpointslice-web.yaml", ending(*addresses, serving=serving))

    def enable_graceful_restart(self) -> None:
        """On every session; each is reset once, and all routes stand again when this returns."""
        for agent in self.agents:
            sessions = agent.status()["peers"][0]["sessions"]
            good = (agent.source / "bgp-config.yaml").read_text()
            changed = good.replace("my-asn: 64512", "my-asn: 64512\n        graceful-restart: {time: 60s}")
            self.write(agent, "bgp-config.yaml", changed)
            until(lambda: agent.status()["peers"][0]["sessions"] > sessions, "the session was reset", 30)  # noqa: B023
        self.await_vip()

    def await_serving(self, count: int, *agents: NodeAgent) -> None:
        """Wait until every agent, or each of these, has programmed and proven the VIP with so many backends."""

        def done(agent: NodeAgent) -> bool:
            answer = agent.explain(VIP)
            frontends = [f for vip in answer.get("vips", ()) for f in vip["frontends"]]
            return bool(frontends) and all(f["programmed"] and len(f["backends"]) == count for f in frontends)

        for agent in agents or self.agents:
            until(lambda agent=agent: done(agent), f"{agent.node.name} has programmed {count} backends", 10)  # type: ignore[misc]


def ending(*addresses: str, serving: bool) -> Callable[[Manifest], None]:
    """The change of a slice by which endpoints of these addresses terminate and all others are ready.

    ``serving``: whether those that terminate pass their readiness probe.
    """

    def change(manifest: Manifest) -> None:
        for endpoint in manifest["endpoints"]:
            ends = endpoint["addresses"][0] in addresses
            endpoint["conditions"] = {"ready": not ends, "serving": serving or not ends, "terminating": ends}

    return change


@contextlib.contextmanager
def cluster(router: Any = "bird", manifests: Path | None = None, **lab_options: Any) -> Iterator[Cluster]:
    """A lab with an agent for each node, not yet started."""
    with Lab(router=router, **lab_options) as lab:
        made = [NodeAgent(node, manifests) if manifests else NodeAgent(node) for node in lab.nodes]
        yield Cluster(lab, tuple(made))


def _told_all(agent: NodeAgent) -> bool:
    peers = agent.status().get("peers", [])
    return bool(peers) and all(peer["end_of_rib"] for peer in peers)


def frontends_in_kernel(agent: NodeAgent) -> set[tuple[str, int]]:
    """(address, port) of every frontend in the pinned map, read with bpftool: none of our own code is involved."""
    path = agent.node.bpffs / "maps" / "lb_frontends"
    done = subprocess.run(["bpftool", "--json", "map", "dump", "pinned", str(path)], capture_output=True, check=True)
    return {_frontend(entry) for entry in json.loads(done.stdout)}


def _frontend(entry: Any) -> tuple[str, int]:
    raw = bytes(int(byte, 16) for byte in entry["key"])
    vip = IPv6Address(raw[:16])
    return str(vip.ipv4_mapped or vip), int.from_bytes(raw[16:18], "big")


def speaker_pid(agent: NodeAgent) -> int:
    """The speaker of this agent's state folder."""
    # Its child is called the same until it has become another program.
    argv = ["pgrep", "--oldest", "--full", f"bgpd --state-dir {agent.state_dir}"]
    return int(subprocess.run(argv, capture_output=True, check=True).stdout)


def exabgp_pid(agent: NodeAgent) -> int:
    """The ExaBGP of this agent's speaker, as soon as there is one."""
    speaker = speaker_pid(agent)
    children = Path(f"/proc/{speaker}/task/{speaker}/children")

    def engine() -> int:
        for pid in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if b"bgpd.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return 0

    return until(engine, "the speaker has an ExaBGP")
