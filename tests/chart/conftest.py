"""Fixtures of the chart's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chart.applied import apply, make_monitoring_kinds, make_namespace, path_of
from tests.chart.helm import template
from tests.kube.server import KubeServer

#: What the applied chart's configuration names.
CONFIG = {
    "peers": [
        {
            "peer-address": "192.0.2.1",
            "peer-asn": 64512,
            "my-asn": 64513,
            "password-secret": {"name": "bgp-password", "key": "password"},
        }
    ],
    "address-pools": [{"name": "p", "protocol": "bgp", "addresses": ["192.0.2.0/24"]}],
}


@pytest.fixture
def prepared(kube: KubeServer) -> KubeServer:
    """The API server with the release's namespace, and with the kinds of the Prometheus operator."""
    make_monitoring_kinds(kube)
    make_namespace(kube)
    return kube


@pytest.fixture
def installed(kube: KubeServer) -> Iterator[KubeServer]:
    """The API server with the chart."""
    make_namespace(kube)
    objects = template(values={"bgpConfig": {"config": CONFIG}})
    for item in objects:
        apply(kube, item)
    yield kube
    for item in objects:
        kube.admin.request("DELETE", path_of(item))
