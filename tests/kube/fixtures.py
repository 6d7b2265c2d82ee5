"""Fixtures for every test that needs an API server; ``tests/conftest.py`` imports them, so all folders have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kube.server import KubeServer


@pytest.fixture(scope="session")
def kube_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    """An API server and its etcd, for the whole session. Take ``kube`` unless the test looks after what others left."""
    server = KubeServer(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def kube(kube_server: KubeServer) -> KubeServer:
    """The API server without objects of other tests."""
    kube_server.empty()
    return kube_server


@pytest.fixture
def controllers(kube: KubeServer) -> Iterator[KubeServer]:
    """The API server with controllers: of EndpointSlices, Pod CIDRs, ServiceAccounts, namespaces, garbage.

    They end with the test: what they do for a Service of another one would come at any moment of it.
    """
    kube.start_controllers()
    yield kube
    kube.stop_controllers()
