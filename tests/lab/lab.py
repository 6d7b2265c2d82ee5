"""The laboratory: a client, a real router, nodes and pods in network namespaces of this machine.

Shared by ``lockstep demo``, the tests and the benchmarks. Any number of labs can run side by side: every name carries
the lab's id. Whatever happens to the owner, a reaper process removes what the lab made.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

from tests.lab import network
from tests.lab.bird import BirdRouter
from tests.lab.frr import FrrRouter
from tests.lab.gobgp import GobgpRouter
from tests.lab.host import Host, Process, reap
from tests.lab.plan import HTTP_PORT, UDP_PORT, NodePlan, Plan, PodPlan, SessionOptions, make_plan
from tests.lab.poll import LabError
from tests.lab.registry import RUN_FOLDER, Registry
from tests.lab.router import Router

H = TypeVar("H", bound=Host)
RouterKind = Literal["bird", "frr", "gobgp"]
#: Those that put their routes into the kernel, so that packets follow them.
FORWARDING_ROUTERS: tuple[RouterKind, ...] = ("bird", "frr")
_ROUTERS: dict[RouterKind, type[Router]] = {"bird": BirdRouter, "frr": FrrRouter, "gobgp": GobgpRouter}
_HERE = Path(__file__).parent
DEFAULT_SESSION = SessionOptions()


class Pod(Host):
    """A backend; serves HTTP on :data:`~tests.lab.plan.HTTP_PORT` and UDP on :data:`~tests.lab.plan.UDP_PORT`."""

    plan: PodPlan
    server: Process | None = None

    @property
    def address(self) -> str:
        """The pod's address."""
        return str(self.plan.address)

    @property
    def address6(self) -> str:
        """The pod's IPv6 address."""
        return str(self.plan.address6)


class Node(Host):
    """A node, with a place for the agent's state and a BPF file system of its own."""

    plan: NodePlan
    pods: tuple[Pod, ...]

    @property
    def address(self) -> str:
        """The node's address on the segment that it shares with the router."""
        return str(self.plan.address)

    @property
    def address6(self) -> str:
        """The same for IPv6."""
        return str(self.plan.address6)

    @property
    def pod_cidr(self) -> str:
        """The prefix of the node's pods."""
        return str(self.plan.pod_cidr)

    @property
    def pod_cidr6(self) -> str:
        """The same for IPv6."""
        return str(self.plan.pod_cidr6)

    @property
    def state_dir(self) -> Path:
        """An empty folder for the agent on this node."""
        return self.folder / "state"

    @property
    def bpffs(self) -> Path:
        """Mount point of the node's BPF file system."""
        return self.folder / "bpffs"


class Lab:
    """``with Lab(router="bird", nodes=2, pods=2) as lab:`` builds it, runs the body, and removes it.

    ``pods`` counts per node. ``router_address`` is the router's address on the segment, whose /24 the nodes share.
    Sessions are iBGP when both ASNs are equal and eBGP when not; ``session`` says how the router runs them. Needs root.
    """

    client: Host
    router: Router
    nodes: tuple[Node, ...]

    def __init__(
        self,
        router: RouterKind = "bird",
        *,
        nodes: int = 2,
        pods: int = 2,
        router_address: str = "192.168.1.11",
        router_asn: int = 64512,
        node_asn: int = 64512,
        session: SessionOptions = DEFAULT_SESSION,
    ) -> None:
        """Plan the lab; nothing is made before the context is entered."""
        self.plan: Plan = make_plan(nodes, pods, router_address, router_asn, node_asn, session)
        self.id = secrets.token_hex(3)
        self.folder = RUN_FOLDER / self.id
        self.kind: RouterKind = router
        self._registry = Registry(self.id)
        self._reaper: subprocess.Popen[bytes] | None = None
        self._kept = False
        self._processes: list[Process] = []

    @property
    def pods(self) -> tuple[Pod, ...]:
        """All pods, node by node."""
        return tuple(pod for node in self.nodes for pod in node.pods)

    def __enter__(self) -> Lab:
        """Build everything; when that fails, remove what was built and raise LabError."""
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes network namespaces")
        self._start_reaper()
        try:
            self.folder.mkdir(parents=True)
            self._make_hosts()
            self._make_network()
            self.router.configure(self.plan)
            self._start_servers(self.pods)
            self.router.start()
            self._await_servers(self.pods)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the lab, unless it is to be kept."""
        if not self._kept:
            self.remove()

    def keep(self) -> str:
        """Let the lab outlive this process; return the command that removes it later."""
        self._kept = True
        self._dismiss_reaper()
        return f"{sys.executable} -m tests.lab remove {self.id}"

    def remove(self) -> None:
        """Kill and remove everything of this lab; harmless when nothing is left."""
        self._registry.remove()
        for process in self._processes:
            reap(process)
        self._processes = []
        self._dismiss_reaper()

    def stop_pod(self, pod: Pod) -> None:
        """Kill the pod's server: its ports are closed from now on, and its connections reset."""
        if pod.server:
            pod.server.kill()
            pod.server.communicate()
            pod.server = None

    def start_pod(self, pod: Pod) -> None:
        """Start the pod's server again; both ports are open when this returns."""
        if pod.server is None:
            self._start_servers([pod])
            self._await_servers([pod])

    def _start_reaper(self) -> None:
        # In a session of its own: what ends the owner's process group must not end it.
        self._reaper = subprocess.Popen(
            [sys.executable, "-S", _HERE / "reaper.py", self.id],
            stdin=subprocess.PIPE,
            # Who reads the owner's output waits for its end, not for the reaper's.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def _dismiss_reaper(self) -> None:
        if self._reaper:
            self._reaper.communicate(b"keep\n")
            self._reaper = None

    def _make_hosts(self) -> None:
        self.client = self._host(Host, "client")
        self.router = self._host(_ROUTERS[self.kind], "router")
        self.nodes = tuple(map(self._node, self.plan.nodes))

    def _host(self, kind: type[H], name: str) -> H:
        folder = self.folder / name
        folder.mkdir()
        return kind(name, self._registry.netns(name), folder, self._processes.append)

    def _node(self, plan: NodePlan) -> Node:
        node = self._host(Node, plan.name)
        node.plan = plan
        node.pods = tuple(map(self._pod, plan.pods))
        node.state_dir.mkdir()
        node.bpffs.mkdir()
        _must(["mount", "-t", "bpf", "bpf", str(node.bpffs)])
        return node

    def _pod(self, plan: PodPlan) -> Pod:
        pod = self._host(Pod, plan.name)
        pod.plan = plan
        return pod

    def _make_network(self) -> None:
        hosts = {host.name: host for host in (self.client, self.router, *self.nodes, *self.pods)}
        names = {name: host.netns for name, host in hosts.items()}
        lines = [f"netns add {netns}" for netns in names.values()] + list(network.links(self.plan, names))
        _must(["ip", "-batch", "-"], "\n".join(lines))
        xdp_object = self.folder / "pass.o"
        _must(["clang", "-O2", "-target", "bpf", "-c", str(_HERE / "pass.bpf.c"), "-o", str(xdp_object)])
        running = [
            hosts[setup.host].popen(["sh", "-c", setup.script(xdp_object)]) for setup in network.setups(self.plan)
        ]
        for process, host in zip(running, hosts.values(), strict=True):
            if process.wait(timeout=30) != 0:
                raise LabError(f"{host.name}: its network could not be set up: {(host.folder / 'sh.log').read_text()}")

    def _start_servers(self, pods: Iterable[Pod]) -> None:
        program: list[str | Path] = [sys.executable, "-I", "-S", _HERE / "pod_server.py"]
        for pod in pods:
            pod.server = pod.popen([*program, pod.name, str(HTTP_PORT), str(UDP_PORT)], stdout=subprocess.PIPE)

    def _await_servers(self, pods: Iterable[Pod]) -> None:
        for pod in pods:
            assert pod.server
            assert pod.server.stdout
            if pod.server.stdout.readline() != "ready\n":
                raise LabError(f"{pod.name}: its server did not start, see {pod.folder}")


def _must(argv: list[str], text: str = "") -> None:
    """Run a command that builds the lab; raise LabError with its words when it fails."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{argv[0]}: {done.stderr.strip()}")
