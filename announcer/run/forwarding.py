"""Who forwards on this node: our own programs, or kube-proxy (``--no-datapath``). What the agent needs of either."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from announcer.model.errors import TargetError
from announcer.model.hands import DatapathHand
from announcer.model.net import IPAddress
from announcer.run.agent import Agent
from announcer.run.settings import AgentSettings
from announcer.run.tracer import DatapathTracer
from announcer.status.endpoint import Tracer
from announcer.status.sight import Sight
from datapath.hand import Datapath

#: How long to let changes of routes and devices gather.
_DEVICE_PAUSE_SECONDS = 0.1


class ForwardingError(Exception):
    """Why nothing can be forwarded, in words for the operator."""


class Forwarding(Protocol):
    """One of the two."""

    @property
    def hand(self) -> DatapathHand:
        """What carries out the steps."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Packets by reason; empty if nobody counts them."""
        ...

    def tracer(self, look: Callable[[], Sight]) -> Tracer:
        """What answers ``lockstep trace``."""
        ...

    async def follow(self, agent: Agent) -> None:
        """Wake the agent whenever something has changed; runs until cancelled."""
        ...


@contextlib.contextmanager
def open_forwarding(settings: AgentSettings) -> Iterator[Forwarding]:
    """By our own programs, or by kube-proxy if the settings say so. Raises :class:`ForwardingError`."""
    if settings.kube_proxy_health is not None:
        if any(settings.bpffs.glob("links/*")):
            raise ForwardingError(
                f"programs of an earlier agent forward still (pinned in {settings.bpffs}): run `lockstep uninstall` "
                "first, or leave --no-datapath out"
            )
        yield ByKubeProxy(settings.kube_proxy_health)
        return
    datapath = Datapath(
        bpffs=settings.bpffs,
        devices=settings.devices,
        limits=settings.limits,
        echo=settings.icmp_echo,
        snat_ports=settings.snat_ports,
    )
    try:
        datapath.open()
    except TargetError as error:
        raise ForwardingError(f"datapath: {error}") from error
    try:
        yield ByPrograms(datapath)
    finally:
        datapath.close()


class ByPrograms:
    """Our own programs."""

    def __init__(self, datapath: Datapath) -> None:
        """``datapath`` is open."""
        self.hand = datapath

    def counters(self) -> Mapping[str, int]:
        """None while the kernel gives none: the status says why under ``datapath.problem``."""
        try:
            return self.hand.counters()
        except TargetError:
            return {}

    def tracer(self, look: Callable[[], Sight]) -> Tracer:
        """Runs the packet through the attached program."""
        return DatapathTracer(self.hand, look)

    async def follow(self, agent: Agent) -> None:
        """Have a round soon after routes or devices have changed, but not for every one of many changes."""
        changed = asyncio.Event()
        seen = self.hand.generation()

        def look() -> None:
            nonlocal seen
            now = self.hand.generation()
            if now != seen:
                seen = now
                changed.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(self.hand.news, look)
        try:
            while True:
                await changed.wait()
                changed.clear()
                agent.wake()
                await asyncio.sleep(_DEVICE_PAUSE_SECONDS)
        finally:
            loop.remove_reader(self.hand.news)


class ByKubeProxy:
    """kube-proxy, at its word. Nothing is loaded, attached or pinned."""

    def __init__(self, url: str) -> None:
        """``url`` of its health endpoint."""
        # Not at the top: with it comes an HTTP client, which whoever has programs of ours would load for nothing.
        from announcer.kubeproxy import Health, KubeProxyHand

        self._health = Health(url)
        self.hand = KubeProxyHand(self._health)

    def counters(self) -> Mapping[str, int]:
        """Nobody counts."""
        return {}

    def tracer(self, look: Callable[[], Sight]) -> Tracer:
        """There is no program to run a packet through."""
        return NoTracer()

    async def follow(self, agent: Agent) -> None:
        """Have a round whenever kube-proxy says something new."""

        def addresses() -> Sequence[IPAddress]:
            # With --nodeport-addresses (and always with nftables) kube-proxy listens on the node's own only.
            node = agent.snapshot.node
            return (*(node.addresses if node is not None else ()), ipaddress.ip_address("127.0.0.1"))

        await self._health.follow(lambda: agent.desired.health_checks, addresses, agent.wake)


class NoTracer:
    """Answers ``/v1/trace`` where no program of ours runs."""

    def trace(self, query: dict[str, str]) -> dict[str, Any]:
        """Raises ``ValueError``, in words for the operator."""
        raise ValueError("kube-proxy forwards on this node (--no-datapath): there is no program to trace through")
