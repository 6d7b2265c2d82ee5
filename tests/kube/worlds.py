"""The same scenario against a scripted API server in virtual time, and against a real one behind a relay."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from announcer.inputs import absorb, config_from_event, secrets_of
from announcer.model.objects import ObjectKey
from announcer.snapshot import ConfigView, ObjectIndex, Snapshot, index_objects
from announcer.sources.events import Changes, Replace, SourceEvent
from announcer.sources.kube import ClusterAccess, KubeSource, Timing
from tests.kube import objects
from tests.kube.api import ApiError, Manifest
from tests.kube.relay import Relay
from tests.kube.scripted import ScriptedServer
from tests.kube.server import KubeServer
from tests.kube.virtual_time import run_virtually

T = TypeVar("T")

NODE = "n1"
CONFIG = ObjectKey("kube-system", "bgp-config")
CONFIG_TEXT = """\
peers:
  - {peer-address: 192.168.1.11, peer-asn: 64512, my-asn: 64512}
address-pools:
  - {name: default, protocol: bgp, addresses: [203.0.113.0/28]}
"""


class Follower:
    """Takes the events of a source as the agent does.

    ``protected``: Services that must never be missing; ``lost``: those that were. ``unaccompanied``: Secrets that a
    configuration named before they were there.
    """

    def __init__(self, source: KubeSource) -> None:
        self.source = source
        self.events: list[SourceEvent] = []
        self.snapshot = Snapshot(revision=0, node_name=NODE, standalone=False)
        self.view = ConfigView()
        self.protected: set[str] = set()
        self.lost: list[str] = []
        self.unaccompanied: list[str] = []

    @property
    def services(self) -> set[str]:
        return {key.name for key in self.snapshot.services}

    @property
    def addresses(self) -> set[str]:
        """Of all endpoints that are ready."""
        slices = (piece for found in self.snapshot.slices.values() for piece in found)
        return {str(one.addresses[0]) for piece in slices for one in piece.endpoints if one.ready}

    @property
    def synced(self) -> bool:
        """True if the last event said that the source can be read."""
        return bool(self.events) and self.events[-1].synced

    async def follow(self) -> None:
        async for event in self.source.events():
            self.events.append(event)
            self.view = config_from_event(self.view, event)
            self.snapshot = absorb(self.snapshot, event, self.view, standalone=False)
            self.unaccompanied += sorted(map(str, secrets_of(self.view) - self.snapshot.secrets.keys()))
            if self.snapshot.synced:
                self.lost += sorted(self.protected - self.services)

    async def all_stand(self, seconds: float) -> None:
        """Wait until no watch is on its way back."""
        await self.until(lambda: self.source.stale_seconds == 0, "all watches stand", seconds)

    async def until(self, check: Callable[[], Any], what: str, seconds: float) -> None:
        """Wait in the time of the loop; raise AssertionError after ``seconds``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not check():
            assert loop.time() < end, f"not within {seconds:g} s: {what}; services {self.services}, {self.events[-1:]}"
            await asyncio.sleep(max(0.02, seconds / 1000))


class World(Protocol):
    """An API server, and what can happen to it. ``patience``: enough for what should happen, in seconds."""

    patience: float
    timing: Timing

    def put(self, manifest: Manifest) -> Any: ...
    def delete(self, kind: str, namespace: str, name: str) -> Any: ...
    def forget(self) -> None: ...
    def cut(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    async def go_away(self) -> None: ...
    async def come_back(self) -> None: ...
    def kubeconfig(self) -> Path: ...


Scenario = Callable[[Any, Follower], Awaitable[None]]


@contextlib.asynccontextmanager
async def following(world: World) -> AsyncIterator[Follower]:
    """A follower at work. What ends it by itself fails the test."""
    access = ClusterAccess(kubeconfig=world.kubeconfig(), clock=asyncio.get_running_loop().time)
    clock = asyncio.get_running_loop().time
    source = KubeSource(access, node_name=NODE, config=CONFIG, timing=world.timing, clock=clock)
    follower = Follower(source)
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class ScriptedWorld:
    """Everything in one loop, in virtual time, with the times of the product."""

    patience = 400.0
    timing = Timing()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = ScriptedServer()
        self.put = self.server.put
        self.delete = self.server.delete
        self.forget = self.server.forget
        self.cut = self.server.cut
        self.freeze = self.server.flowing.clear
        self.thaw = self.server.flowing.set
        self.go_away = self.server.stop
        self.come_back = self.server.start

    def run(self, scenario: Scenario) -> None:
        """Run it from an API server that has a node, a configuration and one Service."""

        async def work() -> None:
            async with self.server.running():
                begin(self)
                async with following(self) as follower:
                    await scenario(self, follower)
                    assert_consistent(follower)

        random.seed(0)  # a run that fails fails again
        run_virtually(work())

    def kubeconfig(self, token: str = "t") -> Path:
        return scripted_kubeconfig(self.server, self._folder, token)


def scripted_kubeconfig(server: ScriptedServer, folder: Path, token: str = "t") -> Path:
    """The way to a scripted server that listens."""
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
                "users": [{"name": "u", "user": {"token": token}}],
            }
        )
    )
    return path


class RealWorld:
    """A real API server behind a relay, in real time, with times that are short."""

    patience = 60.0
    timing = Timing(quiet=3.0, answer=5.0, watch=(5, 5), first_wait=0.1, ceiling=1.0, grace=0.2, poll=2.0, hold=5.0)

    def __init__(self, server: KubeServer, relay: Relay) -> None:
        self._server = server
        self._relay = relay
        self.cut = relay.cut
        self.freeze = relay.freeze
        self.thaw = relay.thaw

    def run(self, scenario: Scenario) -> None:
        """Run it from an API server that has a node, a configuration and one Service."""

        async def work() -> None:
            begin(self)
            async with following(self) as follower:
                await scenario(self, follower)
                assert_consistent(follower)

        run_over_tls(work())

    def put(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        try:
            self._server.admin.create(manifest)
        except ApiError as error:
            if error.code != 409:
                raise
            namespace = metadata.get("namespace", "")
            self._server.admin.patch(manifest["kind"], namespace, metadata["name"], manifest)
            if "status" in manifest:
                self._server.admin.patch(
                    manifest["kind"], namespace, metadata["name"], {"status": manifest["status"]}, "status"
                )

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self._server.admin.delete(kind, namespace, name)

    def forget(self) -> None:
        """Only etcd remembers over a restart, and watches are not served from there."""
        self._server.stop_api()
        self._server.start_api()

    async def go_away(self) -> None:
        self._relay.go_away()

    async def come_back(self) -> None:
        self._relay.come_back()

    def kubeconfig(self) -> Path:
        return self._server.kubeconfig(self._server.admin_token, "follower", url=self._relay.url)


def run_over_tls(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which may leave connections in the middle of something.

    TLS that is cut or cancelled leaves its socket to the garbage collector (``asyncio.sslproto``).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        result = asyncio.run(work)
        gc.collect()
    return result


@contextlib.contextmanager
def real_world(server: KubeServer) -> Iterator[RealWorld]:
    """A relay before ``server``."""
    with Relay(server.port) as relay:
        yield RealWorld(server, relay)


def begin(world: World) -> None:
    """What every scenario begins with."""
    world.put(objects.node(NODE, "192.168.1.21", "10.244.1.0/24"))
    world.put(objects.node("n2", "192.168.1.22", "10.244.2.0/24"))
    world.put(objects.config_map(CONFIG_TEXT))
    world.put(web_service())
    world.put(web_slice("10.244.1.11"))


def web_service(name: str = "web") -> Manifest:
    """A Service with an address."""
    return objects.service(name, ingress=["203.0.113.10"])


def web_slice(*addresses: str, name: str = "web-1", service: str = "web") -> Manifest:
    """Its endpoints."""
    return objects.endpoint_slice(name, service, [objects.endpoint(address, NODE) for address in addresses])


def assert_consistent(follower: Follower) -> None:
    """What was built from changes is what one complete state would have given; nothing protected was ever missing."""
    assert follower.lost == []
    snapshot = follower.snapshot
    kept: list[Any] = [*snapshot.nodes.values(), *snapshot.services.values(), *snapshot.secrets.values()]
    kept += [piece for found in snapshot.slices.values() for piece in found]
    found = ObjectIndex(
        nodes=snapshot.nodes, services=snapshot.services, slices=snapshot.slices, secrets=snapshot.secrets
    )
    assert found == index_objects(kept)
    first = next(index for index, event in enumerate(follower.events) if event.synced)
    assert isinstance(follower.events[first], Replace)
    assert all(isinstance(event, Changes) for event in follower.events[first + 1 :])
