"""Short ways to say what a test is about."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from announcer.config import parse
from announcer.config.types import Config
from announcer.model.net import Protocol
from announcer.model.objects import (
    Endpoint,
    EndpointSlice,
    Node,
    ObjectKey,
    Secret,
    Service,
    ServicePort,
    SlicePort,
    TrafficPolicy,
)
from announcer.snapshot import ConfigView, Snapshot, index_objects, take_config

NODE = "n1"
CONFIG = """
peers:
- {peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512}
address-pools:
- {name: main, protocol: bgp, addresses: [203.0.113.0/28]}
"""


def ip(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text)


def net(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text)


def key(name: str) -> ObjectKey:
    return ObjectKey("default", name)


def config(text: str = CONFIG) -> Config:
    result = parse(text)
    assert result.config is not None, result.problems
    return result.config


def node(name: str = NODE, **fields: object) -> Node:
    return Node(key=ObjectKey("", name), **fields)  # type: ignore[arg-type]


def service(
    name: str = "web",
    *,
    vip: str | None = "203.0.113.1",
    ports: Iterable[tuple[str, Protocol, int]] = (("http", Protocol.TCP, 80),),
    local: bool = False,
    **fields: object,
) -> Service:
    defaults: dict[str, object] = {
        "type": "LoadBalancer",
        "ingress": (ip(vip),) if vip else (),
        "ports": tuple(ServicePort(name=n, protocol=protocol, port=port) for n, protocol, port in ports),
        "external_traffic_policy": TrafficPolicy.LOCAL if local else TrafficPolicy.CLUSTER,
    }
    return Service(key=key(name), **{**defaults, **fields})  # type: ignore[arg-type]


def endpoints(
    owner: str = "web",
    *addresses: str,
    name: str = "",
    node_name: str = NODE,
    ready: bool = True,
    terminating: bool = False,
    ports: Iterable[tuple[str, Protocol, int]] = (("http", Protocol.TCP, 8080),),
) -> EndpointSlice:
    return EndpointSlice(
        key=key(name or f"{owner}-1"),
        service=key(owner),
        ports=tuple(SlicePort(name=n, protocol=protocol, port=port) for n, protocol, port in ports),
        endpoints=tuple(
            Endpoint(addresses=(ip(a),), ready=ready, terminating=terminating, node_name=node_name) for a in addresses
        ),
    )


def snapshot(
    *objects: Node | Service | EndpointSlice | Secret, config_text: str = CONFIG, synced: bool = True, **fields: object
) -> Snapshot:
    index = index_objects(objects)
    view = take_config(ConfigView(), config(config_text), ())
    defaults: dict[str, object] = {
        "revision": 1,
        "node_name": NODE,
        "synced": synced,
        "config": view,
        "nodes": index.nodes,
        "services": index.services,
        "slices": index.slices,
        "secrets": index.secrets,
    }
    return Snapshot(**{**defaults, **fields})  # type: ignore[arg-type]
