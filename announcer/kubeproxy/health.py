"""Asking kube-proxy how it is, over HTTP, again and again.

Two questions. Its own health endpoint (``/healthz``, port 10256) answers 200 while its last change of rules is not
overdue and the node is not about to be deleted, else 503, with ``{"lastUpdated", "currentTime", "nodeEligible"}``
(Kubernetes, pkg/proxy/healthcheck/proxy_health.go; KEP-3836). The ``healthCheckNodePort`` of a Service with
``externalTrafficPolicy: Local`` answers 200 if kube-proxy has endpoints on this node for it (service_health.go); it
learns of them after it has written its rules, so this one is about the Service itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import aiohttp
import msgspec

from announcer.model.desired import HealthCheck
from announcer.model.net import IPAddress

log = logging.getLogger(__name__)

#: Between two questions, and how long to wait for an answer, in seconds. With the grace that a proof has, a proxy that
#: stops answering costs its routes in about a second.
_EVERY = 0.25
_TIMEOUT = 0.5
_PORTS_EVERY = 1.0
_MOST_AT_ONCE = 16


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. ``at``: when it was asked for, in CLOCK_MONOTONIC seconds. ``problem`` is empty if it was 200."""

    at: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """It said that all is well."""
        return not self.problem


class Health:
    """The latest answers. ``proxy`` is None until the first one has come."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        """``url``: of the health endpoint. ``clock`` gives CLOCK_MONOTONIC seconds."""
        self.url = url
        self.proxy: Probe | None = None
        self.vips: dict[IPAddress, str] = {}
        self._clock = clock

    async def follow(
        self,
        checks: Callable[[], tuple[HealthCheck, ...]],
        addresses: Callable[[], Sequence[IPAddress]],
        changed: Callable[[], None],
    ) -> None:
        """Ask until cancelled. ``checks`` and ``addresses`` (of this node) say where else; ``changed`` is told of news.

        Raises nothing: whatever goes wrong with an answer is the answer.
        """
        # A connection for each question: one that stays open would not notice that somebody else listens there now.
        connector = aiohttp.TCPConnector(force_close=True, limit=_MOST_AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._follow_proxy(session, changed))
            group.create_task(self._follow_ports(session, checks, addresses, changed))

    async def _follow_proxy(self, session: aiohttp.ClientSession, changed: Callable[[], None]) -> None:
        while True:
            before, at = self.proxy, self._clock()
            problem = await _problem(session, self.url)
            self.proxy = Probe(at=at, problem=problem or "")
            if before is None or before.problem != self.proxy.problem:
                log.info("kube-proxy: %s", self.proxy.problem or "healthy", extra={"url": self.url})
                changed()
            await asyncio.sleep(_EVERY)

    async def _follow_ports(
        self,
        session: aiohttp.ClientSession,
        checks: Callable[[], tuple[HealthCheck, ...]],
        addresses: Callable[[], Sequence[IPAddress]],
        changed: Callable[[], None],
    ) -> None:
        while True:
            asked = [check for check in checks() if check.local_endpoints and check.refused is None]
            answers = await asyncio.gather(*(self._ask_port(session, check, addresses()) for check in asked))
            found = {vip: text for check, text in zip(asked, answers, strict=True) if text for vip in check.vips}
            if found != self.vips:
                self.vips = found
                changed()
            await asyncio.sleep(_PORTS_EVERY)

    async def _ask_port(
        self, session: aiohttp.ClientSession, check: HealthCheck, addresses: Sequence[IPAddress]
    ) -> str:
        """What kube-proxy has against the Service; empty if nothing. One that does not listen has said nothing."""
        for address in addresses:
            host = f"[{address}]" if address.version == 6 else str(address)
            problem = await _problem(session, f"http://{host}:{check.port}/", silent="")
            if problem is None:
                return ""
            if problem:
                return f"kube-proxy, asked about {check.service} on its healthCheckNodePort {check.port}: {problem}"
        return ""


async def _problem(session: aiohttp.ClientSession, url: str, silent: str | None = None) -> str | None:
    """None if the answer was 200, else what was wrong; ``silent`` instead if nothing listens there at all."""
    try:
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status == 200:
                return None
            said = (await answer.content.read(256)).decode(errors="replace").strip()
            return f"{url} answers {answer.status}: {said}" if said else f"{url} answers {answer.status}"
    except TimeoutError:
        return f"{url} does not answer within {_TIMEOUT} s"
    except aiohttp.ClientConnectorError as error:
        return f"{url} cannot be reached: {error.os_error.strerror or error}" if silent is None else silent
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"{url}: {str(error) or type(error).__name__}"
