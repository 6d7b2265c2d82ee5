"""core/v1 Node."""

from __future__ import annotations

from announcer.manifests.fields import Field
from announcer.model.objects import Node, ObjectKey, Taint


def node(field: Field, key: ObjectKey) -> Node:
    """The Node in ``field``. A cluster may fill ``podCIDR``, ``podCIDRs`` or both; each prefix counts once."""
    spec, status = field.get("spec"), field.get("status")
    cidrs = [spec.get("podCIDR").network(), *(item.network() for item in spec.get("podCIDRs").items())]
    addresses = [
        item.get("address").address()
        for item in status.get("addresses").items()
        if item.get("type").text() == "InternalIP"
    ]
    return Node(
        key=key,
        labels=field.get("metadata", "labels").texts(),
        annotations=field.get("metadata", "annotations").texts(),
        pod_cidrs=tuple(dict.fromkeys(cidr for cidr in cidrs if cidr is not None)),
        addresses=tuple(dict.fromkeys(address for address in addresses if address is not None)),
        unschedulable=spec.get("unschedulable").truth(False),
        taints=tuple(_taint(item) for item in spec.get("taints").items()),
        conditions={item.get("type").text(): item.get("status").text() for item in status.get("conditions").items()},
    )


def _taint(field: Field) -> Taint:
    return Taint(key=field.get("key").text(), value=field.get("value").text(), effect=field.get("effect").text())
