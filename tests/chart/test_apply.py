"""A real API server takes what the chart makes, by server-side apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.applied import apply, path_of
from tests.chart.helm import PRESETS, template
from tests.kube.api import ApiError
from tests.kube.server import KubeServer

#: Helm, or an API server: `make kube` builds both.
pytestmark = pytest.mark.kube


def test_a_real_api_server_takes_every_preset(prepared: KubeServer) -> None:
    for preset in ("", *PRESETS):
        for item in template(preset=preset):
            apply(prepared, item, dryRun="All")
    objects = template(preset="monitoring")
    try:
        versions = {path_of(item): apply(prepared, item)["metadata"]["resourceVersion"] for item in objects}
        again = {path_of(item): apply(prepared, item)["metadata"]["resourceVersion"] for item in objects}
        assert again == versions, "applied again, nothing changes"
    finally:
        for item in objects:
            prepared.admin.request("DELETE", path_of(item))


def test_control_an_unknown_field_would_be_noticed(prepared: KubeServer) -> None:
    item: dict[str, Any] = next(item for item in template() if item["kind"] == "DaemonSet")
    item["spec"]["template"]["spec"]["hostNetwrok"] = True
    with pytest.raises(ApiError, match="hostNetwrok"):
        apply(prepared, item, dryRun="All")
