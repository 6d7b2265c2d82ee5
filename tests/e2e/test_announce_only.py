"""``lockstep run --no-datapath``: routes follow kube-proxy's word, and nothing of ours is in the kernel.

kube-proxy is played by ``tests/lab/kube_proxy.py``, which says there how its answers were taken from the real one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import VIP, Cluster, cluster
from tests.lab import Node, RouteJournal, kube_proxy, until
from tests.lab.agents import LOCKSTEP
from tests.lab.host import Process

pytestmark = [pytest.mark.root, pytest.mark.lab]

#: Far more than the product takes, which is about a second; a machine that does other things must not matter.
_SOON = 20


class Proxy:
    """The stand-in of one node."""

    def __init__(self, node: Node, service_port: int = 0) -> None:
        self.node = node
        self._ports = [str(kube_proxy.HEALTH_PORT), *([str(service_port)] if service_port else [])]
        self._process: Process | None = None
        self.start()

    def start(self) -> None:
        program: list[str | Path] = [sys.executable, "-I", "-S", kube_proxy.__file__, self.node.folder, *self._ports]
        self._process = self.node.popen(program)

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()

    def says(self, what: str, port: int = kube_proxy.HEALTH_PORT) -> None:
        said = self.node.folder / str(port)
        beside = said.with_suffix(".new")  # it is read at any moment
        beside.write_text(what)
        beside.replace(said)


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Cluster, list[Proxy]]]:
    with cluster() as found:
        proxies = [Proxy(node) for node in found.lab.nodes]
        for agent in found.agents:
            agent.arguments = ("--no-datapath",)
        found.start()
        yield found, proxies


def test_routes_follow_the_word_of_kube_proxy(made: tuple[Cluster, list[Proxy]]) -> None:
    running, proxies = made
    n1, n2 = running.lab.nodes
    agent = running.agents[0]
    only_n2 = frozenset({n2.address})
    for what, words in (
        ("503", 'answers 503: {"lastUpdated"'),
        ("hang", "does not answer within"),
    ):
        with RouteJournal(running.lab.router) as journal:
            began = time.monotonic()
            proxies[0].says(what)
            until(lambda: running.next_hops == only_n2, f"{what}: n1 withdraws", _SOON)
            assert time.monotonic() - began < 10
            until(lambda: agent.vip(VIP)["state"] == "Withheld", "and says so", _SOON)
            seen = agent.vip(VIP)
            assert (seen["reason"], words in seen["detail"]) == ("notProven", True), seen
            assert journal.changes(n1.pod_cidr) == [], "Pod CIDRs need no proxy"
        proxies[0].says("200")
        running.await_vip()
    proxies[0].kill()
    until(lambda: running.next_hops == only_n2, "a proxy that is gone serves nothing", _SOON)
    until(lambda: "cannot be reached" in (agent.vip(VIP)["detail"] or ""), "and why", _SOON)
    text = agent.cli("status").stdout
    assert "forwarding by kube-proxy, not healthy" in text
    proxies[0].start()
    running.await_vip()


def test_nothing_is_loaded_attached_or_pinned(made: tuple[Cluster, list[Proxy]]) -> None:
    running, _ = made
    for agent in running.agents:
        assert not {"maps", "progs", "links"} & {path.name for path in agent.node.bpffs.iterdir()}
        assert "lb_" not in agent.node.run(["bpftool", "net", "show"]).stdout
        seen = agent.status()["datapath"]
        assert (seen["forwarded_by"], seen["devices"], seen["maps"]) == ("kube-proxy", [], {})
        assert agent.metrics()['lockstep_forwarder_up{name="kube-proxy"}'] == 1
    asked = running.agents[0].cli("trace", "--from", "198.51.100.1:1000", "--to", f"{VIP}:80")
    assert asked.returncode != 0
    assert "kube-proxy forwards on this node" in asked.stderr


def test_an_agent_that_restarts_costs_no_route(made: tuple[Cluster, list[Proxy]]) -> None:
    running, _ = made
    agent = running.agents[0]
    with RouteJournal(running.lab.router) as journal:
        agent.kill()
        agent.start()
        until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "proven anew", _SOON)
        assert journal.changes() == []


def test_without_endpoints_nothing_is_announced_whatever_kube_proxy_says(made: tuple[Cluster, list[Proxy]]) -> None:
    running, _ = made
    running.set_ready(lambda _: False)
    running.await_no_vip()
    assert running.agents[0].vip(VIP)["reason"] == "noEndpoints"
    running.set_ready(lambda _: True)
    running.await_vip()


def test_programs_of_before_are_not_left_behind_unseen(made: tuple[Cluster, list[Proxy]]) -> None:
    """An agent that would announce while forgotten programs forward to backends of the past refuses to start."""
    running, _ = made
    agent = running.agents[0]
    agent.terminate()
    arguments, agent.arguments = agent.arguments, ()
    agent.start()
    agent.await_announced(VIP)
    agent.terminate()
    agent.arguments = arguments
    agent.start()
    assert agent.wait() == 1
    assert "run `lockstep uninstall` first" in agent.log.read_text()
    done = agent.node.run([LOCKSTEP, "uninstall", f"--bpffs={agent.node.bpffs}"], check=False)
    assert done.returncode == 0, done.stderr
    agent.start()
    running.await_vip()
