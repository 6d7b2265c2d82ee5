"""What the objects of a large cluster and the decision about them take, counted in bytes and not in seconds."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

from announcer.config import KEY
from announcer.decide import Decider
from announcer.inputs import absorb, config_from_event
from announcer.snapshot import ConfigView, Snapshot
from announcer.sources.fold import merge, read_file
from tests.announcer.build import CONFIG

SERVICES, EACH = 200, 10
#: For each endpoint, its share of its Service included: 65 MB for 100,000 of them, before the hands do anything.
TARGET_BYTES = 650


def manifests(number: int) -> list[dict[str, Any]]:
    name = f"web-{number}"
    metadata = {"name": name, "namespace": "default"}
    port = {"name": "http", "protocol": "TCP", "port": 80}
    ready = {"ready": True, "serving": True, "terminating": False}
    pods = [f"10.244.{number % 256}.{number // 256 * EACH + at}" for at in range(EACH)]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"type": "LoadBalancer", "ports": [port]},
            "status": {"loadBalancer": {"ingress": [{"ip": f"203.0.113.{number}"}]}},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{**port, "port": 8080}],
            "endpoints": [{"addresses": [pod], "nodeName": "n2", "conditions": ready} for pod in pods],
        },
    ]


def test_objects_and_decision_take_little_for_an_endpoint() -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bgp-config", "namespace": "kube-system"}}
    data = {KEY: CONFIG.replace("203.0.113.0/28", "203.0.113.0/24")}
    own = read_file("own.yaml", json.dumps({**config, "data": data}).encode())
    text = "\n---\n".join(json.dumps(each) for number in range(SERVICES) for each in manifests(number)).encode()
    decider = Decider()
    gc.collect()
    tracemalloc.start()
    try:
        files = {"own.yaml": own, "services.yaml": read_file("services.yaml", text)}
        event = merge(files)
        view = config_from_event(ConfigView(), event)
        seen = absorb(Snapshot(revision=0, node_name="n1"), event, view, standalone=True)
        desired = decider.decide(seen)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(frontend.backends) for frontend in desired.frontends.values()) == SERVICES * EACH
    assert taken / (SERVICES * EACH) < TARGET_BYTES, taken
