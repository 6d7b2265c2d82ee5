"""The lab with a real API server beside it: agents of both nodes follow it, BIRD is their router.

The API server runs outside of the lab. On each node a socket listens on loopback and leads to it through a relay, so
the network to the API server can fail without disturbing BGP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from tests.chart.applied import apply, make_namespace
from tests.chart.helm import NAMESPACE, template
from tests.kube import objects
from tests.kube.api import Api, Manifest
from tests.kube.relay import Relay, listen_in
from tests.kube.server import KubeServer
from tests.lab import Lab, until
from tests.lab.agents import NodeAgent

VIP = "203.0.113.10"
OTHER_VIP = "203.0.113.11"
_PORT = 6443

CONFIG = """\
peers:
  - peer-address: 192.168.1.11
    peer-asn: 64512
    my-asn: 64512
address-pools:
  - name: default
    protocol: bgp
    addresses: [203.0.113.0/28]
"""

#: The chart, with the ConfigMap where the agent looks by default.
_RELEASE = {"bgpConfig": {"create": False, "namespace": "kube-system", "secrets": ["bgp-auth"]}}
_ACCOUNTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


class KubeCluster:
    """Two nodes whose agents follow an API server."""

    def __init__(self, lab: Lab, server: KubeServer, relay: Relay, agents: tuple[NodeAgent, ...]) -> None:
        self.lab = lab
        self.server = server
        self.relay = relay
        self.agents = agents

    @property
    def api(self) -> Api:
        """Everything is allowed."""
        return self.server.admin

    @property
    def addresses(self) -> frozenset[str]:
        """Of both nodes: the next hops of a VIP that everybody announces."""
        return frozenset(node.address for node in self.lab.nodes)

    def hops(self, vip: str = VIP) -> frozenset[str]:
        """The nodes that the router sends packets for ``vip`` to."""
        return self.lab.router.fib().get(f"{vip}/32", frozenset())

    def begin(self, config: str = CONFIG) -> None:
        """Nodes and configuration, as if the cluster were new."""
        self.server.empty()
        self.api.create(objects.config_map(config))
        # Held until the router has seen it: what a Node costs that is gone for a moment comes later, in the midst of a
        # test, or not at all.
        until(lambda: not self.lab.router.fib(), "nothing is left of the cluster before", 40)
        for node in self.lab.nodes:
            self.api.create(objects.node(node.name, node.address, node.pod_cidr))

    def serve(self, name: str = "web", vip: str = VIP, *, pods: Sequence[str] = (), **spec: Any) -> None:
        """A Service with an address and one slice of endpoints: ``pods`` by name, all if empty."""
        self.api.create(objects.service(name, ingress=[vip], **spec))
        self.api.create(self.slice_of(name, pods or [pod.name for pod in self.lab.pods]))

    def slice_of(
        self, service: str, pods: Sequence[str], *, name: str = "", ready: bool | Sequence[str] = True
    ) -> Manifest:
        """A slice with these pods of the lab. ``ready``: all of them, none, or those of these names."""
        names = (pods if ready else ()) if isinstance(ready, bool) else ready
        endpoints = [
            objects.endpoint(pod.address, node.name, ready=pod.name in names)
            for node in self.lab.nodes
            for pod in node.pods
            if pod.name in pods
        ]
        return objects.endpoint_slice(name or f"{service}-1", service, endpoints)

    def await_hops(self, hops: frozenset[str], what: str, vip: str = VIP) -> None:
        """Wait until the router has exactly these next hops for ``vip``."""
        until(lambda: self.hops(vip) == hops, what, 40)


@contextlib.contextmanager
def kube_cluster(server: KubeServer) -> Iterator[KubeCluster]:
    """Both agents run with the rights of an agent. There is no Service yet."""
    with Lab(router="bird") as lab:
        listeners = [listen_in(node.netns, _PORT) for node in lab.nodes]
        with Relay(server.port, listeners) as relay:
            kubeconfig = server.kubeconfig(agent_token(server), "agent", url=f"https://127.0.0.1:{_PORT}")
            arguments = ("--source=kube", f"--kubeconfig={kubeconfig}")
            agents = tuple(NodeAgent(node, arguments=arguments) for node in lab.nodes)
            made = KubeCluster(lab, server, relay, agents)
            made.begin()
            for agent in agents:
                agent.start()
            yield made
            for agent in agents:
                agent.terminate()


def agent_token(server: KubeServer) -> str:
    """A token that may do what the chart lets agents do, and no more. The allocator's account is there as well."""
    make_namespace(server)
    for item in template(values=_RELEASE):
        if item["kind"] in _ACCOUNTS:
            apply(server, item)
    return server.admin.token(NAMESPACE, "lockstep-agent")
