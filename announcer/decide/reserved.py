"""What of the cluster's own no Service and no aggregate may take over, whatever the pools say (CVE-2020-8554)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from announcer.config.types import Config
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.objects import Node

#: A Pod CIDR by IP version, length and address of the network as a number: whether an address lies in one of thousands
#: takes as many looks as there are lengths, which is one or two.
_Cidrs = dict[tuple[int, int], dict[int, str]]


class Reserved:
    """The addresses of peers and nodes, and the Pod CIDRs. Never changes once it is made."""

    def __init__(self, nodes: Iterable[Node], config: Config) -> None:
        """``nodes``: all of the cluster that are known."""
        self._addresses = {peer.address: f"the peer {peer.name}" for peer in config.peers}
        self._nodes = tuple(nodes)
        self._peers = config.peers
        self._cidrs: _Cidrs = {}
        self._covered: dict[IPNetwork, str] = {}
        for node in self._nodes:
            self._addresses.update(dict.fromkeys(node.addresses, f"the node {node.key}"))
            for cidr in node.pod_cidrs:
                of_length = self._cidrs.setdefault((cidr.version, cidr.prefixlen), {})
                of_length.setdefault(int(cidr.network_address), str(node.key))

    def holder_of(self, address: IPAddress) -> str:
        """What ``address`` is to the cluster, in words; empty if it is nothing."""
        if address in self._addresses:
            return f"{address} is the address of {self._addresses[address]}"
        number, bits = int(address), address.max_prefixlen
        for (version, length), cidrs in self._cidrs.items():
            if version == address.version:
                node = cidrs.get(number >> (bits - length) << (bits - length))
                if node is not None:
                    return f"{address} is inside a Pod CIDR of the node {node}"
        if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
            return f"{address} is not a global unicast address"
        return f"{address} is the broadcast address" if address == _BROADCAST else ""

    def covered_by(self, prefix: IPNetwork) -> str:
        """What of the cluster lies inside ``prefix``, in words; empty if nothing does, as for every single address.

        Packets to addresses of an announced aggregate that are no VIP are dropped on this node. An aggregate that
        covers Pods, nodes or routers would make that a hole in the network, so it must not be announced at all.
        """
        if prefix.prefixlen == prefix.max_prefixlen:
            return ""
        if prefix not in self._covered:
            self._covered[prefix] = self._find_in(prefix)
        return self._covered[prefix]

    def _find_in(self, prefix: IPNetwork) -> str:
        for peer in self._peers:
            if peer.address in prefix:
                return f"the peer {peer.name}"
        for node in self._nodes:
            for address in node.addresses:
                if address in prefix:
                    return f"{address}, an address of the node {node.key}"
            for cidr in node.pod_cidrs:
                if cidr.version == prefix.version and cidr.overlaps(prefix):
                    return f"the Pod CIDR {cidr} of the node {node.key}"
        return ""


_BROADCAST = ipaddress.ip_address("255.255.255.255")
