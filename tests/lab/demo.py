"""The demonstration: two nodes, one real router, a client; from a folder of manifests to answered requests.

Everything in it is real: the router runs BIRD or FRR, the nodes run the agent as an operator would, the kernel runs
the programs, and the requests are sent through the VIP over the routes that the router learned.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.lab.agents import STANDALONE, NodeAgent
from tests.lab.lab import Lab, RouterKind
from tests.lab.poll import LabError, until
from tests.lab.traffic import Traffic, send

REQUESTS = 400
_CONVERGE_SECONDS = 30.0

Say = Callable[[str], None]


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the demonstration saw. ``routes``: prefix to next hops, as they stand in the router's FIB."""

    router: str
    vip: str
    routes: dict[str, list[str]]
    requests: int
    succeeded: int
    backends: dict[str, int]
    seconds: float
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Everything was as it should be."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return msgspec.structs.asdict(self)

    def summary(self) -> str:
        """One line with the numbers."""
        hops = len(self.routes[f"{self.vip}/32"])
        answered = sum(1 for count in self.backends.values() if count)
        word = "ok" if self.ok else "FAILED"
        return (
            f"{word}: {self.succeeded} of {self.requests} requests to {self.vip} succeeded over {answered} backends; "
            f"{self.router} holds {len(self.routes)} routes, the VIP with {hops} next hops; {self.seconds} s"
        )


def run_demo(router: RouterKind, say: Say, *, keep: bool) -> DemoResult:
    """Build the lab, run the agents, send the requests. Raises ``LabError`` if it cannot be built or does not converge.

    ``say`` is given each line of progress. With ``keep`` the lab outlives this process, and the lines say how to look
    around and how to remove it.
    """
    start = time.monotonic()
    say(f"building the lab: a client, a router ({router}), two nodes with two backends each")
    with Lab(router=router) as lab:
        agents = [NodeAgent(node) for node in lab.nodes]
        for agent in agents:
            agent.start()
        vip = _vip(STANDALONE)
        say(f"lockstep runs on {' and '.join(node.name for node in lab.nodes)}, manifests from {STANDALONE.name}/")
        wanted = _wanted_routes(lab, vip)
        routes = _await_routes(lab, wanted)
        say("the router has the routes")
        for agent in agents:
            agent.await_announced(vip)
            _show_node(agent, say)
        _show_routes(routes, wanted, say)
        traffic = send(lab.client, f"{vip}:80", count=REQUESTS)
        _show_traffic(traffic, vip, say)
        result = DemoResult(
            router=router,
            vip=vip,
            routes={prefix: sorted(hops) for prefix, hops in routes.items() if prefix in wanted},
            requests=REQUESTS,
            succeeded=traffic.ok,
            backends=dict(sorted(traffic.backends.items())),
            seconds=round(time.monotonic() - start, 1),
            problems=_problems(lab, traffic),
        )
        if keep:
            _show_way_around(lab, agents[0], vip, say)
        return result


def _vip(manifests: Path) -> str:
    service = yaml.safe_load((manifests / "service-web.yaml").read_text())
    return str(service["spec"]["loadBalancerIP"])


def _wanted_routes(lab: Lab, vip: str) -> dict[str, frozenset[str]]:
    wanted = {node.pod_cidr: frozenset({node.address}) for node in lab.nodes}
    return {**wanted, f"{vip}/32": frozenset(node.address for node in lab.nodes)}


def _await_routes(lab: Lab, wanted: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    def have() -> bool:
        fib = lab.router.fib()
        return all(fib.get(prefix) == hops for prefix, hops in wanted.items())

    try:
        until(have, "the router has every route", _CONVERGE_SECONDS)
    except LabError as error:
        logs = ", ".join(str(node.folder / "agent.log") for node in lab.nodes)
        raise LabError(f"{error}; the router has {lab.router.fib()}; look into {logs}") from error
    return lab.router.fib()


def _show_node(agent: NodeAgent, say: Say) -> None:
    seen: dict[str, Any] = agent.status()
    say(f"\n{seen['node']}:")
    for peer in seen["peers"]:
        say(f"  peer {peer['name']} AS{peer['asn']}: {peer['state']}, {peer['routes']['sent']} routes sent")
    for vip in seen["vips"]:
        total, local = vip["backends"]["serving"], vip["backends"]["local"]
        age = vip["proof"]["age_seconds"]
        say(f"  vip  {vip['vip']}: {vip['state']}, {total} backends serve, {local} here, proven {age:.1f} s ago")
    for pod in seen["pod_cidrs"]:
        say(f"  pods {pod['prefix']}: {pod['state']}")
    for device in seen["datapath"]["devices"]:
        say(f"  device {device['name']}: {device['hook']}")


def _show_routes(routes: dict[str, frozenset[str]], wanted: dict[str, frozenset[str]], say: Say) -> None:
    say("\nin the router's forwarding table:")
    for prefix in wanted:
        say(f"  {prefix:<18} via {', '.join(sorted(routes[prefix]))}")


def _show_traffic(traffic: Traffic, vip: str, say: Say) -> None:
    say(f"\n{REQUESTS} requests, each on a new connection, from the client to {vip}:80:")
    for backend, count in sorted(traffic.backends.items()):
        say(f"  {backend}: {count:>4}  {count / REQUESTS:6.1%}")


def _problems(lab: Lab, traffic: Traffic) -> list[str]:
    problems = [f"{count} requests failed: {error}" for error, count in traffic.errors.items()]
    silent = {pod.name for pod in lab.pods} - set(traffic.backends)
    if silent:
        problems.append(f"no request reached {', '.join(sorted(silent))}")
    return problems


def _show_way_around(lab: Lab, agent: NodeAgent, vip: str, say: Say) -> None:
    inside = f"nsenter --net=/run/netns/{agent.node.netns} .venv/bin/lockstep"
    option = f"--state-dir {agent.state_dir}"
    say("\nthe lab stays. On the first node, for example:")
    for command in ("status", f"explain {vip}", f"trace --from 198.51.100.10:40000 --to {vip}:80", "routes"):
        say(f"  {inside} {command} {option}")
    say(f"change the manifests in {agent.source} and watch; as the client:")
    say(f"  nsenter --net=/run/netns/{lab.client.netns} curl http://{vip}/")
    say(f"remove it with:\n  {lab.keep()}")
