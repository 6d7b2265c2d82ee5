"""The Kubernetes objects that Lockstep reads, reduced to the fields that it uses.

Shapes follow the Kubernetes API (core/v1, discovery.k8s.io/v1); names are those of the API in snake case. Whatever
source they come from (a folder, an API server), only these values go further.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from announcer.model.net import IPAddress, IPNetwork, Protocol


class Kind(StrEnum):
    """The kinds of object that a source delivers."""

    NODE = "Node"
    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"


class ObjectKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Namespace and name; the namespace of a cluster-wide object is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """``namespace/name``, or the name alone."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Taint(msgspec.Struct, frozen=True, gc=False):
    """One of ``Node.spec.taints``."""

    key: str
    value: str = ""
    effect: str = ""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """core/v1 Node.

    ``pod_cidrs`` is the union of ``spec.podCIDR`` and ``spec.podCIDRs``; ``addresses`` are the InternalIPs;
    ``conditions`` maps a condition's type to its status (``"True"``, ``"False"``, ``"Unknown"``).
    """

    key: ObjectKey
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    pod_cidrs: tuple[IPNetwork, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    conditions: dict[str, str] = {}


class TrafficPolicy(StrEnum):
    """``Service.spec.externalTrafficPolicy``."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class SessionAffinity(StrEnum):
    """``Service.spec.sessionAffinity``."""

    NONE = "None"
    CLIENT_IP = "ClientIP"


#: ``sessionAffinityConfig.clientIP.timeoutSeconds`` where the API has none: three hours.
DEFAULT_AFFINITY_SECONDS = 10800


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of ``Service.spec.ports``. ``name`` is what ties it to the port of an EndpointSlice; it may be empty."""

    name: str = ""
    protocol: Protocol = Protocol.TCP
    port: int
    node_port: int = 0


class Condition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of ``Service.status.conditions``; ``since`` is ``lastTransitionTime``."""

    status: str = ""
    reason: str = ""
    message: str = ""
    since: str = ""


class Service(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """core/v1 Service.

    ``ingress`` is ``status.loadBalancer.ingress[].ip``; ``requested`` is ``spec.loadBalancerIP`` (empty: any address
    will do); ``type`` is kept as text because all that matters is whether it is ``LoadBalancer``. ``ip_families`` are
    IP versions.
    ``affinity_seconds``: for how long a client that is silent keeps its backend, under ``ClientIP``.
    ``source_ranges``: clients that are let in; empty: all. ``health_check_node_port``: 0 if the Service has none.
    ``traffic_distribution``: empty, or a word of the API (PreferClose, PreferSameZone, PreferSameNode).
    ``allocation`` is our condition in its status; ``has_hostname``: its status names a load balancer that cannot be
    ours.
    """

    key: ObjectKey
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    cluster_ips: tuple[IPAddress, ...] = ()
    ip_families: tuple[int, ...] = ()
    ip_family_policy: str = ""
    ports: tuple[ServicePort, ...] = ()
    external_traffic_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    load_balancer_class: str = ""
    requested: tuple[IPAddress, ...] = ()
    ingress: tuple[IPAddress, ...] = ()
    has_hostname: bool = False
    allocation: Condition | None = None
    uid: str = ""
    creation_timestamp: str = ""
    external_ips: tuple[IPAddress, ...] = ()
    publish_not_ready: bool = False
    session_affinity: SessionAffinity = SessionAffinity.NONE
    affinity_seconds: int = DEFAULT_AFFINITY_SECONDS
    source_ranges: tuple[IPNetwork, ...] = ()
    health_check_node_port: int = 0
    allocate_node_ports: bool = True
    traffic_distribution: str = ""


class SlicePort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of ``EndpointSlice.ports``: the port that the pods listen on."""

    name: str = ""
    protocol: Protocol = Protocol.TCP
    port: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of ``EndpointSlice.endpoints``, with the defaults that the API gives to absent conditions (KEP-1672).

    ``addresses`` are interchangeable names of one endpoint; the API tells consumers to use the first.
    ``for_zones``, ``for_nodes``: the hints, where its traffic should come from; empty if the slice gives none.
    """

    addresses: tuple[IPAddress, ...]
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node_name: str = ""
    zone: str = ""
    for_zones: tuple[str, ...] = ()
    for_nodes: tuple[str, ...] = ()


class EndpointSlice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """discovery.k8s.io/v1 EndpointSlice. ``service`` comes from the label ``kubernetes.io/service-name``."""

    key: ObjectKey
    service: ObjectKey
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


class ConfigMap(msgspec.Struct, frozen=True, kw_only=True):
    """core/v1 ConfigMap. ``file``/``lines`` say where each value began, for errors that point into the right line.

    ``lines[k]`` is the line of the source file that holds the first line of ``data[k]``; 0 if unknown.
    """

    key: ObjectKey
    data: dict[str, str] = {}
    file: str = ""
    lines: dict[str, int] = {}


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """core/v1 Secret, values decoded. Never printed: ``repr`` shows the names of the values only."""

    key: ObjectKey
    data: dict[str, bytes] = {}

    def __repr__(self) -> str:
        """The keys, never the values."""
        return f"Secret({self.key}, keys={sorted(self.data)})"


KubeObject = Node | Service | EndpointSlice | ConfigMap | Secret

KIND_OF: dict[type[KubeObject], Kind] = {
    Node: Kind.NODE,
    Service: Kind.SERVICE,
    EndpointSlice: Kind.ENDPOINT_SLICE,
    ConfigMap: Kind.CONFIG_MAP,
    Secret: Kind.SECRET,
}
