"""Which aggregates must not be announced, because they would draw in packets for something that is no VIP.

Packets to addresses of an announced aggregate that are no VIP are dropped on this node. An aggregate that covers Pods,
nodes or routers would make that a hole in the network, so it is not announced at all.
"""

from __future__ import annotations

from announcer.config.types import Config
from announcer.model.net import IPNetwork
from announcer.snapshot import Snapshot


def covers(prefix: IPNetwork, snapshot: Snapshot, config: Config) -> str:
    """What of the cluster lies inside ``prefix``, in words; empty if nothing does, as for every single address."""
    if prefix.prefixlen == prefix.max_prefixlen:
        return ""
    for peer in config.peers:
        if peer.address in prefix:
            return f"the peer {peer.name}"
    for node in snapshot.nodes.values():
        for address in node.addresses:
            if address in prefix:
                return f"{address}, an address of the node {node.key}"
        for cidr in node.pod_cidrs:
            if cidr.version == prefix.version and cidr.overlaps(prefix):
                return f"the Pod CIDR {cidr} of the node {node.key}"
    return ""
