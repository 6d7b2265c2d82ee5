"""What the allocator knows: Services as they are, or as they will be seen in a moment; the configuration; Nodes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from announcer.config.types import Config
from announcer.inputs import config_from_objects
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.objects import Node, ObjectKey, Service
from announcer.snapshot import ConfigView
from announcer.sources.kube.mirror import Mirror
from announcer.sources.kube.wire import RemoteObject


class View:
    """Puts the mirrors and our own writes together.

    What the API server has answered to a write counts until the watch has told as much: an address that was given a
    moment ago must not look free.
    """

    def __init__(self, services: Mirror, nodes: Mirror, config_map: Mirror) -> None:
        """The mirrors are read, never changed."""
        self._services = services
        self._nodes = nodes
        self._config_map = config_map
        self._written: dict[ObjectKey, RemoteObject] = {}
        self.config_view = ConfigView()

    @property
    def synced(self) -> bool:
        """True if everything was read completely once."""
        return all(mirror.synced for mirror in (self._services, self._nodes, self._config_map))

    def read_config(self) -> bool:
        """Look at the ConfigMap; True if another configuration is in force now. A bad one changes nothing."""
        before = self.config_view.config
        self.config_view = config_from_objects(self.config_view, self._config_map.objects.values())
        return self.config_view.config != before

    @property
    def config(self) -> Config | None:
        """The configuration in force."""
        return self.config_view.config

    def services(self) -> dict[ObjectKey, tuple[Service, int]]:
        """Every Service and its version."""
        found: dict[ObjectKey, tuple[Service, int]] = {}
        for key, item in self._services.objects.items():
            version = self._services.version_of(key)
            written = self._written.get(key)
            if written is not None and isinstance(written.item, Service) and written.version > version:
                found[key] = written.item, written.version
            elif isinstance(item, Service):
                self._written.pop(key, None)
                found[key] = item, version
        return found

    def wrote(self, answer: RemoteObject) -> None:
        """The API server took a write, and this is the Service now."""
        self._written[answer.key] = answer

    def reserved(self) -> Callable[[IPAddress], str]:
        """What belongs to nodes: their addresses and their Pod CIDRs."""
        nodes = [item for item in self._nodes.objects.values() if isinstance(item, Node)]
        addresses = {address: node.key.name for node in nodes for address in node.addresses}
        # By length, so that one look-up a length is enough, however many nodes there are.
        pods: dict[tuple[int, int], dict[IPNetwork, str]] = {}
        for node in nodes:
            for cidr in node.pod_cidrs:
                pods.setdefault((cidr.version, cidr.prefixlen), {})[cidr] = node.key.name

        def owner(address: IPAddress) -> str:
            if address in addresses:
                return f"is the address of the node {addresses[address]}"
            for (version, length), prefixes in pods.items():
                if version == address.version:
                    prefix = ip_network((address, length), strict=False)
                    if prefix in prefixes:
                        return f"is inside a Pod CIDR of the node {prefixes[prefix]}"
            return ""

        return owner
