"""What is followed, and no more than that: every watch costs the API server something, once per node."""

from __future__ import annotations

import msgspec

from announcer.manifests.endpoint_slice import SERVICE_LABEL
from announcer.model.objects import Kind, ObjectKey

#: The API's mark for slices of headless Services, which have no address that could be balanced.
_HEADLESS_LABEL = "service.kubernetes.io/headless"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One list or watch. ``name`` is for people; ``polled``: looked at now and then instead of watched.

    ``except_name``: an object that another resource brings.
    """

    name: str
    kind: Kind
    api_version: str
    path: str
    label_selector: str = ""
    field_selector: str = ""
    polled: bool = False
    except_name: str = ""

    @property
    def selectors(self) -> dict[str, str]:
        """As query parameters."""
        pairs = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {key: value for key, value in pairs.items() if value}


SERVICES = Resource(name="services", kind=Kind.SERVICE, api_version="v1", path="/api/v1/services")

ENDPOINT_SLICES = Resource(
    name="endpointslices",
    kind=Kind.ENDPOINT_SLICE,
    api_version="discovery.k8s.io/v1",
    path="/apis/discovery.k8s.io/v1/endpointslices",
    label_selector=f"{SERVICE_LABEL},!{_HEADLESS_LABEL}",
)


def own_node(name: str) -> Resource:
    """The Node object of this node."""
    return Resource(
        name=f"node {name}",
        kind=Kind.NODE,
        api_version="v1",
        path="/api/v1/nodes",
        field_selector=f"metadata.name={name}",
    )


def other_nodes(own: str) -> Resource:
    """All other Nodes: their addresses and Pod CIDRs, which no VIP may be in.

    Not watched: every kubelet writes its Node every few minutes, so N watchers of N nodes grow with the square of N.
    """
    return Resource(name="nodes", kind=Kind.NODE, api_version="v1", path="/api/v1/nodes", polled=True, except_name=own)


def config_map(key: ObjectKey) -> Resource:
    """The one ConfigMap with the bgp-config."""
    return _single("configmap", "configmaps", Kind.CONFIG_MAP, key)


def secret(key: ObjectKey) -> Resource:
    """One Secret, by its name: nothing here may ever list Secrets."""
    return _single("secret", "secrets", Kind.SECRET, key)


def _single(word: str, plural: str, kind: Kind, key: ObjectKey) -> Resource:
    # Access to objects by name (resourceNames of a Role) covers list and watch only with this field selector.
    return Resource(
        name=f"{word} {key}",
        kind=kind,
        api_version="v1",
        path=f"/api/v1/namespaces/{key.namespace}/{plural}",
        field_selector=f"metadata.name={key.name}",
    )
