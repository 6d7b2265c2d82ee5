"""What one agent costs an API server in watch traffic, measured, and what that makes of a cluster of 1,000 nodes.

``make bench-watch`` prints a table. A real API server holds 1,000 Nodes; the source of one agent follows it, and every
event and every byte that it is sent is counted (TLS and HTTP framing are not). What the table gives for 1,000 nodes is
that times 1,000: agents do not differ, but nobody ran 1,000 of them.

Beside it three watches that the source does not have, as controls: its slices as JSON; all Nodes, which every kubelet
writes; and core/v1 Endpoints, one object for a Service of any size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from announcer.model.objects import Kind, ObjectKey
from announcer.sources.kube import ClusterAccess, KubeSource, list_watch
from announcer.sources.kube.resources import ENDPOINT_SLICES
from announcer.sources.kube.wire import JSON, Encoding, WireEvent, encoding_of
from tests.kube import objects
from tests.kube.api import Manifest, path_of
from tests.kube.server import KubeServer

NODES = 1000
#: Every kubelet writes its Node's status that often though nothing has changed (``nodeStatusReportFrequency``).
HEARTBEAT_SECONDS = 300
_CONFIG = "peers: []\naddress-pools: []\n"
_ENDPOINTS = "/api/v1/namespaces/default/endpoints"
_MERGE = "application/merge-patch+json"


Change = Callable[[int], Awaitable[None]]


class Meter:
    """Events and bytes since the last reset. Bookmarks count: they are sent, too."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0

    def reset(self) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]


class MeteredContent:
    """A body of which the bytes are counted as they come."""

    def __init__(self, content: aiohttp.StreamReader, meter: Meter) -> None:
        self._content, self._meter = content, meter

    async def iter_any(self) -> AsyncIterator[bytes]:
        """See ``aiohttp.StreamReader``."""
        async for piece in self._content.iter_any():
            self._meter.bytes += len(piece)
            yield piece


class MeteredEncoding:
    """An encoding of which the events and their bytes are counted."""

    def __init__(self, encoding: Encoding, meter: Meter) -> None:
        self._encoding, self._meter = encoding, meter
        self.page, self.status = encoding.page, encoding.status

    async def events(self, content: aiohttp.StreamReader) -> AsyncIterator[WireEvent]:
        """See ``Encoding``."""
        metered: Any = MeteredContent(content, self._meter)
        async for event in self._encoding.events(metered):
            self._meter.events += 1
            yield event


class Load:
    """Writes to the API server, at a rate."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def send(self, method: str, path: str, body: Any, kind: str = "application/json") -> None:
        """One request that must succeed."""
        async with self._session.request(
            method, self._url + path, data=json.dumps(body), headers={"Content-Type": kind}
        ) as answer:
            assert answer.status < 300, await answer.text()

    async def every(self, what: Change, rate: float, seconds: float) -> int:
        """Call ``what`` with 0, 1, … at ``rate`` a second, or as fast as the server is; returns how often."""
        began, number = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < seconds:
            if number <= elapsed * rate:
                await what(number)
                number += 1
            else:
                await asyncio.sleep(0.002)
        return number


def big_slice(service: str, part: int, endpoints: int, stamp: int) -> Manifest:
    """One slice; in every version one other endpoint is missing, as in a rolling update."""
    made = objects.endpoint_slice(
        f"{service}-{part}",
        service,
        [
            {
                **objects.endpoint(f"10.{200 + part}.{one // 250}.{one % 250 + 1}", f"node-{one * 7 % NODES}"),
                "zone": f"zone-{one % 3}",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": f"{service}-{part}-{one}"},
            }
            for one in range(endpoints)
            if one != stamp % endpoints
        ],
    )
    made["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": str(stamp)}
    return made


def endpoints_object(service: str, count: int, stamp: int) -> Manifest:
    """core/v1 Endpoints of the same Service: all of it in one object."""
    addresses = [
        {
            "ip": f"10.{200 + one // 1000}.{one % 1000 // 250}.{one % 250 + 1}",
            "nodeName": f"node-{one * 7 % NODES}",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": f"{service}-{one}"},
        }
        for one in range(count)
        if one != stamp % count
    ]
    ports = [{"name": "http", "port": 8080}]
    metadata = {"name": service, "namespace": "default", "annotations": {"stamp": str(stamp)}}
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata,
        "subsets": [{"addresses": addresses, "ports": ports}],
    }


async def follow_raw(
    session: aiohttp.ClientSession, url: str, meter: Meter, ready: asyncio.Event, **selectors: str
) -> None:
    """A watch as a program without thought has it: everything of a kind, as JSON."""
    query = {
        "watch": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        **selectors,
    }
    async with session.get(url, params=query, timeout=aiohttp.ClientTimeout(total=None)) as answer:
        assert answer.status == 200, await answer.text()
        async for event in MeteredEncoding(JSON, meter).events(answer.content):
            if event.type == "BOOKMARK" and event.object.metadata().ends_initial_events:
                ready.set()


Row = tuple[str, float, float, float]


class Bench:
    """The watches of one agent, and those of the controls."""

    def __init__(self, server: KubeServer, load: Load, seconds: float) -> None:
        self.rows: list[Row] = []
        self.agent, self.json, self.nodes, self.endpoints = Meter(), Meter(), Meter(), Meter()
        self._server = server
        self._load = load
        self._seconds = seconds
        self._ready = [asyncio.Event() for _ in range(4)]

    def begin(self, session: aiohttp.ClientSession) -> list[asyncio.Task[None]]:
        """Follow everything."""
        url = f"{self._server.url}/api/v1"
        return [
            asyncio.create_task(self._follow()),
            asyncio.create_task(follow_raw(session, f"{url}/nodes", self.nodes, self._ready[1])),
            asyncio.create_task(follow_raw(session, f"{url}/endpoints", self.endpoints, self._ready[2])),
            asyncio.create_task(
                follow_raw(
                    session,
                    self._server.url + ENDPOINT_SLICES.path,
                    self.json,
                    self._ready[3],
                    **ENDPOINT_SLICES.selectors,
                )
            ),
        ]

    async def synced(self) -> None:
        """Wait until each has its first state."""
        await asyncio.wait_for(asyncio.gather(*(ready.wait() for ready in self._ready)), 60)

    async def _follow(self) -> None:
        def counted(content_type: str, kind: Kind) -> Encoding:
            return MeteredEncoding(encoding_of(content_type, kind), self.agent)

        setattr(list_watch, "encoding_of", counted)  # noqa: B010 - the place that every event of every watch passes
        access = ClusterAccess(kubeconfig=self._server.kubeconfig(self._server.admin_token, "bench"))
        source = KubeSource(access, node_name="node-1", config=ObjectKey("kube-system", "bgp-config"))
        async for _ in source.events():
            self._ready[0].set()

    async def phase(self, name: str, what: Change, rate: float, control: Meter | None = None) -> None:
        """One or two rows."""
        for one in (self.agent, self.json, self.nodes, self.endpoints):
            one.reset()
        changes = await self._load.every(what, rate, self._seconds)
        await asyncio.sleep(1)
        for title, meter in ((name, self.agent), (f"  control: {name}", control)):
            if meter is not None:
                seconds = self._seconds
                self.rows.append((title, changes / seconds, meter.events / seconds, meter.bytes / seconds))


async def measure(server: KubeServer, seconds: float, rate: float) -> list[Row]:
    """Rows: what, changes a second, events a second and bytes a second for one agent."""
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, limit=0), headers=headers) as session:
        load = Load(session, server.url)
        await _fill(load)
        bench = Bench(server, load, seconds)
        tasks = bench.begin(session)
        try:
            await bench.synced()
            beats = f"{NODES} kubelets, a heartbeat every {HEARTBEAT_SECONDS} s"
            await bench.phase(beats, partial(_heartbeat, load), NODES / HEARTBEAT_SECONDS, bench.nodes)
            await bench.phase("Services of 10 endpoints", partial(_slice, load, "small", 20, 10), rate, bench.json)
            large = "a Service of 1,000 endpoints"
            await bench.phase(f"{large}, 10 slices", partial(_slice, load, "large", 10, 100), rate, bench.json)
            await bench.phase(f"{large}, one Endpoints", partial(_whole, load), rate, bench.endpoints)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return bench.rows


async def _heartbeat(load: Load, number: int) -> None:
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": str(number)}]
    path = path_of("Node", "", f"node-{number % NODES}", "status")
    await load.send("PATCH", path, {"status": {"conditions": conditions}}, _MERGE)


async def _slice(load: Load, service: str, parts: int, size: int, number: int) -> None:
    part = number % parts
    made = big_slice(service, part, size, number)
    await load.send("PUT", path_of("EndpointSlice", "default", f"{service}-{part}"), made)


async def _whole(load: Load, number: int) -> None:
    await load.send("PUT", f"{_ENDPOINTS}/large", endpoints_object("large", 1000, number))


async def _fill(load: Load) -> None:
    await load.send("POST", path_of("ConfigMap", "kube-system"), objects.config_map(_CONFIG))
    for number in range(NODES):
        await load.send(
            "POST", path_of("Node"), objects.node(f"node-{number}", f"172.16.{number // 250}.{number % 250 + 1}")
        )
    for service, parts, size in (("small", 20, 10), ("large", 10, 100)):
        await load.send("POST", path_of("Service", "default"), objects.service(service))
        for part in range(parts):
            await load.send("POST", path_of("EndpointSlice", "default"), big_slice(service, part, size, 0))
    await load.send("POST", _ENDPOINTS, endpoints_object("large", 1000, 0))


def main() -> None:
    """Start an API server, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each row")
    parser.add_argument("--rate", type=float, default=10, help="changes a second")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = KubeServer(Path(folder))
        try:
            server.start()
            rows = asyncio.run(measure(server, chosen.seconds, chosen.rate))
        finally:
            server.stop()
    print(f"{'':58} {'changes/s':>9} {'events/s':>9} {'kB/event':>9} | {NODES} agents: {'events/s':>8} {'Mbit/s':>8}")
    for name, changes, events, size in rows:
        each = size / events / 1000 if events else 0.0
        print(
            f"{name:58} {changes:9.1f} {events:9.2f} {each:9.2f} | {events * NODES:22.0f} {size * 8 * NODES / 1e6:8.1f}"
        )


if __name__ == "__main__":
    main()
