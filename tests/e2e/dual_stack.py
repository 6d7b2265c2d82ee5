"""A cluster whose Service has an address of each family, with the same pods behind both."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import yaml

from tests.e2e.cluster import VIP, Cluster, Manifest, cluster
from tests.lab import SessionOptions, until
from tests.lab.gobgp_fib import in_the_kernel
from tests.lab.lab import Pod

VIP6 = "2001:db8:f::10"


def _both_addresses(manifest: Manifest) -> None:
    spec = manifest["spec"]
    del spec["loadBalancerIP"]
    spec["ipFamilies"], spec["ipFamilyPolicy"] = ["IPv4", "IPv6"], "RequireDualStack"
    manifest["status"] = {"loadBalancer": {"ingress": [{"ip": VIP}, {"ip": VIP6}]}}


def _dual_stack(manifest: Manifest) -> None:
    spec = manifest["spec"]
    number = spec["podCIDR"].split(".")[2]
    spec["podCIDRs"] = [spec["podCIDR"], f"2001:db8:244:{number}::/64"]


def _second_address(address: str, manifest: Manifest) -> None:
    manifest["status"]["addresses"].append({"type": "InternalIP", "address": address})


def endpoints6(made: Cluster, service: str, pods: tuple[Pod, ...]) -> str:
    """The EndpointSlice of a Service with the IPv6 addresses of these pods, on the ports of ``web``."""
    manifest = yaml.safe_load((made.agents[0].source / "endpointslice-web.yaml").read_text())
    manifest["metadata"]["name"], manifest["addressType"] = f"{service}-6", "IPv6"
    manifest["metadata"]["labels"]["kubernetes.io/service-name"] = service
    conditions = manifest["endpoints"][0]["conditions"]
    manifest["endpoints"] = [
        {"addresses": [str(pod.plan.address6)], "nodeName": node.name, "conditions": conditions}
        for node in made.lab.nodes
        for pod in node.pods
        if pod in pods
    ]
    text: str = yaml.safe_dump(manifest)
    return text


@contextlib.contextmanager
def dual_stack_cluster(router: str, arguments: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """It runs, its agents with these ``arguments`` as well, and the router has both next hops of both addresses."""
    with cluster(router, session=SessionOptions(families=("ipv4", "ipv6"))) as made, in_the_kernel(made.lab.router):
        for node in made.lab.nodes:
            made.edit(f"node-{node.name}.yaml", _dual_stack)
            made.edit(f"node-{node.name}.yaml", functools.partial(_second_address, node.address6))
        made.edit("service-web.yaml", _both_addresses)
        text = endpoints6(made, "web", made.lab.pods)
        for agent in made.agents:
            config = (agent.source / "bgp-config.yaml").read_text()
            config = config.replace("my-asn: 64512", "my-asn: 64512\n        families: [ipv4, ipv6]")
            config = config.replace("- 203.0.113.0/28", '- 203.0.113.0/28\n          - "2001:db8:f::/112"')
            made.write(agent, "bgp-config.yaml", config)
            made.write(agent, "endpointslice-web6.yaml", text)
            agent.arguments = (*agent.arguments, *arguments)
            agent.start()
        await_both(made)
        yield made


def await_both(made: Cluster) -> None:
    """Wait until all nodes announce both addresses and the router uses them all."""
    made.await_vip()
    wanted = frozenset(node.address6 for node in made.lab.nodes)
    until(lambda: made.lab.router.fib().get(f"{VIP6}/128") == wanted, "both next hops of the IPv6 VIP", 30)
    for agent in made.agents:
        agent.await_announced(VIP6, 30)
