"""From the plan to the commands that build it; pure.

Three rules come from veth itself (Linux drivers/net/veth.c; ``test_veth.py`` measures them):

- A frame that a native XDP program transmits or redirects into a veth reaches the other end only if that end runs NAPI,
  which it does with an XDP program of its own or with GRO on. Otherwise it is dropped without a trace. So GRO is on
  everywhere.
- For XDP_TX, GRO is not enough: the frame is queued, but the receiver is only woken if it has a program, so the frame
  waits for the next ordinary one. So the router's ports, where hairpinned packets arrive, carry a program that passes.
- Transmit checksum offload on a veth means that no checksum is ever computed. A program that rewrites or encapsulates
  such a packet sends it out broken. So it is off everywhere, and segmentation offload with it, as on a real wire.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.plan import (
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    CLIENT_GATEWAY,
    CLIENT_GATEWAY6,
    CLIENT_PREFIX_LENGTH,
    EDGE_MTU,
    LAN_MTU,
    PREFIX_LENGTH6,
    NodePlan,
    Plan,
    PodPlan,
)

LAN_BRIDGE = "lan"
CLIENT_DEVICE = "client"
UPLINK = "eth0"

_ROUTING = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/*/rp_filter": "0",
    "net/ipv4/conf/*/send_redirects": "0",
    "net/ipv4/conf/*/accept_redirects": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/*/accept_redirects": "0",
}
# Without layer 4 in the hash, one client address would always meet the same node.
_ECMP = {"net/ipv4/fib_multipath_hash_policy": "1", "net/ipv6/fib_multipath_hash_policy": "1"}


@dataclass(frozen=True)
class HostSetup:
    """What has to be done inside one host: lines for ``ip -batch``, sysctls, devices whose offloads are set,
    and devices that get a native XDP program."""

    host: str
    ip: tuple[str, ...]
    sysctls: dict[str, str]
    devices: tuple[str, ...]
    xdp_pass: tuple[str, ...] = ()

    def script(self, xdp_object: Path) -> str:
        """One shell script that does it all, so that a host costs one process start."""
        batch = "\n".join(self.ip)
        lines = ["set -e", f"ip -batch - <<'END'\n{batch}\nEND"]
        lines += [f"for f in /proc/sys/{key}; do echo {value} > $f; done" for key, value in self.sysctls.items()]
        lines += [
            f"ethtool -K {shlex.quote(device)} tx off tso off gso off gro on >/dev/null" for device in self.devices
        ]
        lines += [
            f"ip link set dev {device} xdpdrv obj {shlex.quote(str(xdp_object))} sec xdp" for device in self.xdp_pass
        ]
        return "\n".join(lines)


def links(plan: Plan, netns: dict[str, str]) -> Iterator[str]:
    """Lines for ``ip -batch`` that make every veth pair with its ends already in their hosts."""
    router = netns["router"]
    yield _veth(UPLINK, netns["client"], CLIENT_DEVICE, router, EDGE_MTU)
    for node in plan.nodes:
        yield uplink(node, netns)
        for pod in node.pods:
            yield _veth(UPLINK, netns[pod.name], pod.host_device, netns[node.name], EDGE_MTU)


def uplink(node: NodePlan, netns: dict[str, str]) -> str:
    """A node's link to the segment, its other end in the router."""
    return _veth(UPLINK, netns[node.name], node.name, netns["router"], LAN_MTU)


def _veth(device: str, netns: str, peer: str, peer_netns: str, mtu: int) -> str:
    return f"link add {device} mtu {mtu} netns {netns} type veth peer name {peer} mtu {mtu} netns {peer_netns}"


def setups(plan: Plan) -> Iterator[HostSetup]:
    """What each host does with its ends."""
    yield _client()
    yield _router(plan)
    for node in plan.nodes:
        yield _node(plan, node)
        for pod in node.pods:
            yield _pod(node, pod)


def uplink_setups(plan: Plan, node: NodePlan) -> tuple[HostSetup, HostSetup]:
    """What the router and the node do with a link that was made anew."""
    port = (f"link set {node.name} master {LAN_BRIDGE} up",)
    return (
        HostSetup("router", port, {}, (node.name,), (node.name,)),
        HostSetup(node.name, _uplink_of(plan, node), {}, (UPLINK,)),
    )


def _uplink_of(plan: Plan, node: NodePlan) -> tuple[str, ...]:
    return (
        f"addr add {node.address}/{plan.lan.prefixlen} dev {UPLINK}",
        f"addr add {node.address6}/{plan.lan6.prefixlen} dev {UPLINK} nodad",
        f"link set {UPLINK} up",
        f"route add default via {plan.router_address}",
        f"route add default via {plan.router_address6}",
    )


def _client() -> HostSetup:
    ip = (
        "link set lo up",
        f"addr add {CLIENT_ADDRESS}/{CLIENT_PREFIX_LENGTH} dev {UPLINK}",
        f"addr add {CLIENT_ADDRESS6}/{PREFIX_LENGTH6} dev {UPLINK} nodad",
        f"link set {UPLINK} up",
        f"route add default via {CLIENT_GATEWAY}",
        f"route add default via {CLIENT_GATEWAY6}",
    )
    return HostSetup("client", ip, {}, (UPLINK,))


def _router(plan: Plan) -> HostSetup:
    ports = tuple(node.name for node in plan.nodes)
    ip = [
        "link set lo up",
        f"addr add {CLIENT_GATEWAY}/{CLIENT_PREFIX_LENGTH} dev {CLIENT_DEVICE}",
        f"addr add {CLIENT_GATEWAY6}/{PREFIX_LENGTH6} dev {CLIENT_DEVICE} nodad",
        f"link set {CLIENT_DEVICE} up",
        f"link add {LAN_BRIDGE} mtu {LAN_MTU} type bridge stp_state 0 forward_delay 0",
        f"addr add {plan.router_address}/{plan.lan.prefixlen} dev {LAN_BRIDGE}",
        f"addr add {plan.router_address6}/{plan.lan6.prefixlen} dev {LAN_BRIDGE} nodad",
        f"link set {LAN_BRIDGE} up",
        *(f"link set {port} master {LAN_BRIDGE} up" for port in ports),
    ]
    return HostSetup("router", tuple(ip), _ROUTING | _ECMP, (CLIENT_DEVICE, *ports), ports)


def _node(plan: Plan, node: NodePlan) -> HostSetup:
    ip = [
        "link set lo up",
        *_uplink_of(plan, node),
        # An address of the Pod CIDR that no pod has must end here; along the default route it would come back for ever.
        f"route add unreachable {node.pod_cidr}",
        f"route add unreachable {node.pod_cidr6}",
    ]
    for pod in node.pods:
        ip += [
            f"addr add {node.pod_gateway}/32 dev {pod.host_device}",
            f"addr add {node.pod_gateway6}/128 dev {pod.host_device} nodad",
            f"link set {pod.host_device} up",
            f"route add {pod.address}/32 dev {pod.host_device}",
            f"route add {pod.address6}/128 dev {pod.host_device}",
        ]
    return HostSetup(node.name, tuple(ip), _ROUTING, (UPLINK, *(pod.host_device for pod in node.pods)))


def _pod(node: NodePlan, pod: PodPlan) -> HostSetup:
    ip = (
        "link set lo up",
        f"addr add {pod.address}/32 dev {UPLINK}",
        f"addr add {pod.address6}/128 dev {UPLINK} nodad",
        f"link set {UPLINK} up",
        f"route add {node.pod_gateway}/32 dev {UPLINK} scope link",
        f"route add default via {node.pod_gateway}",
        f"route add {node.pod_gateway6}/128 dev {UPLINK}",
        f"route add default via {node.pod_gateway6}",
    )
    return HostSetup(pod.name, ip, {}, (UPLINK,))
