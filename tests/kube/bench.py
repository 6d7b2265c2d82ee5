"""How an agent's source bears a large cluster: 10,000 Services, 100,000 endpoints, 1,000 Nodes in a real API server.

``make bench-kube`` prints a table. Measured is a process that does what the agent does up to the decision (follow,
index, decide); what a decision costs the kernel is the business of ``make bench`` and ``make figures``. Times count
from before the request that changes something, so that of the API server is in them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import urllib3

from announcer.model.objects import Kind
from announcer.sources.kube.wire import accept
from tests.kube import objects
from tests.kube.api import Manifest, path_of
from tests.kube.server import KubeServer

NODES = 1000
CONFIG = """\
peers:
  - {peer-address: 192.168.1.11, peer-asn: 64512, my-asn: 64512}
address-pools:
  - {name: default, protocol: bgp, addresses: [10.100.0.0/16]}
"""


def main() -> None:
    """Fill an API server, follow it, change something, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=10, help="for each Service")
    parser.add_argument("--changes", type=int, default=30)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = KubeServer(Path(folder))
        try:
            server.start()
            _run(server, chosen.services, chosen.endpoints, chosen.changes)
        finally:
            server.stop()


def _run(server: KubeServer, services: int, endpoints: int, changes: int) -> None:
    began = time.monotonic()
    asyncio.run(_fill(server, services, endpoints))
    print(f"filled an API server with {services} Services, {services * endpoints} endpoints: {_since(began):.0f} s")
    kubeconfig = server.kubeconfig(server.admin_token, "bench")
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.kube.bench_child", str(kubeconfig)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        rows: list[tuple[str, float, str]] = []
        first = json.loads(child.stdout.readline())
        assert first["services"] >= services, first
        for name, unit in (
            ("first sync", "s"),
            ("first decision", "s"),
            ("memory", "MB"),
            ("memory of the process before", "MB"),
        ):
            rows.append((name, first[name], unit))
        news: list[float] = []
        decided: list[float] = []
        deciding: list[float] = []
        for number in range(changes):
            began = time.monotonic()
            name = _change(server, number % services, endpoints)
            while True:
                line = json.loads(child.stdout.readline())
                if name in line["slices"]:
                    break
            news.append((line["absorbed"] - began) * 1000)
            decided.append((line["decided"] - began) * 1000)
            deciding.append((line["decided"] - line["absorbed"]) * 1000)
        for name, values in (
            ("event to index", news),
            ("event to decision", decided),
            ("of that, deciding", deciding),
        ):
            values.sort()
            rows.append((f"{name} p50", statistics.median(values), "ms"))
            rows.append((f"{name} p99", values[min(len(values) - 1, round(len(values) * 0.99))], "ms"))
        rows.append(("one change of a slice on the wire", _size(server, "svc-0-a"), "bytes"))
        for name, value, unit in rows:
            print(f"  {name:48} {value:10.1f} {unit}")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _size(server: KubeServer, name: str) -> int:
    """Bytes of a slice as the source asks for it; the frame of an event adds less than twenty."""
    headers = {
        "Authorization": f"Bearer {server.admin_token}",
        "Accept": accept(Kind.ENDPOINT_SLICE, watch=False, protobuf=True),
    }
    url = server.url + path_of("EndpointSlice", "default", name)
    with urllib3.PoolManager(ca_certs=str(server.ca)) as pool:
        return len(pool.request("GET", url, headers=headers).data)


def _since(began: float) -> float:
    return time.monotonic() - began


def _slice(number: int, endpoints: int, *, without: int = 0) -> Manifest:
    made = objects.endpoint_slice(
        f"svc-{number}-a",
        f"svc-{number}",
        [
            {
                **objects.endpoint(
                    f"10.{200 + one}.{number // 250}.{number % 250 + 1}", f"node-{(number * 7 + one) % NODES}"
                ),
                "zone": f"zone-{one % 3}",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": f"svc-{number}-{one}"},
            }
            for one in range(without, endpoints)
        ],
    )
    made["metadata"]["annotations"] = {"bench": str(time.monotonic_ns())}
    return made


def _change(server: KubeServer, number: int, endpoints: int) -> str:
    """Take one endpoint of a Service away; returns the name of the slice."""
    made = server.admin.replace(_slice(number, endpoints, without=1))
    return str(made["metadata"]["name"])


async def _fill(server: KubeServer, services: int, endpoints: int) -> None:
    server.admin.create(objects.config_map(CONFIG))
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    numbers = iter(range(services))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, limit=16), headers=headers) as session:

        async def send(method: str, path: str, body: Any, kind: str = "application/json") -> None:
            content = {"Content-Type": kind}
            async with session.request(method, server.url + path, data=json.dumps(body), headers=content) as answer:
                assert answer.status < 300, await answer.text()

        for number in range(NODES):
            address, cidr = f"172.16.{number // 250}.{number % 250 + 1}", f"10.{number // 256}.{number % 256}.0/24"
            await send("POST", path_of("Node"), objects.node(f"node-{number}", address, cidr))

        async def worker() -> None:
            for number in numbers:
                name, vip = f"svc-{number}", f"10.100.{number // 250}.{number % 250 + 1}"
                made = objects.service(name, allocateLoadBalancerNodePorts=False)
                await send("POST", path_of("Service", "default"), made)
                status = {"status": objects.status_of(vip)}
                path = path_of("Service", "default", name, "status")
                await send("PATCH", path, status, "application/merge-patch+json")
                await send("POST", path_of("EndpointSlice", "default"), _slice(number, endpoints))

        await asyncio.gather(*(worker() for _ in range(16)))


if __name__ == "__main__":
    main()
