"""Listening on the ``healthCheckNodePort`` of every Service that has one, for as long as it has one.

A port may be taken, most likely by the cluster's own proxy, which answers the same question there. That is no trouble
of this node's traffic: it is reported, and tried again now and then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from announcer.model.desired import HealthCheck
from announcer.run.news import News
from announcer.status.health import answer
from announcer.status.http import Handler, Request, Response, json_response, serve_on
from announcer.status.sight import Sight

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0
#: A load balancer asks with one connection at a time; anybody can reach these ports.
_MOST_CONNECTIONS = 64


class HealthPorts:
    """The listening sockets. ``problems``: ports on which nothing of ours listens, and why."""

    def __init__(self, look: Callable[[], Sight]) -> None:
        """``look`` gives the agent's values now."""
        self._look = look
        self._servers: dict[int, asyncio.Server] = {}
        self._retry_at: dict[int, float] = {}
        self._seen: tuple[HealthCheck, ...] | None = None
        self.problems: dict[int, str] = {}

    async def follow(self, checks: Callable[[], tuple[HealthCheck, ...]], decided: News) -> None:
        """Listen where ``checks`` says, until cancelled; then on nothing. ``decided`` tells when to ask it again."""
        try:
            while True:
                known = decided.count
                await self.settle(checks())
                await decided.after(known, _RETRY_SECONDS if self._retry_at else None)
        finally:
            for server in self._servers.values():
                server.close()
            self._servers.clear()

    async def settle(self, checks: tuple[HealthCheck, ...]) -> None:
        """Open what is missing and close what nothing wants any more."""
        now = asyncio.get_running_loop().time()
        due = any(time <= now for time in self._retry_at.values())
        if (checks is self._seen or checks == self._seen) and not due:
            return
        self._seen = checks
        wanted = {check.port for check in checks}
        for port in self._servers.keys() - wanted:
            self._servers.pop(port).close()
        for port in self._retry_at.keys() - wanted:
            del self._retry_at[port]
            self.problems.pop(port, None)
        for port in sorted(wanted - self._servers.keys()):
            if self._retry_at.get(port, 0.0) <= now:
                await self._open(port, now)

    async def _open(self, port: int, now: float) -> None:
        try:
            self._servers[port] = await serve_on(_socket(port), self._handler(port), _MOST_CONNECTIONS)
        except OSError as error:
            self._retry_at[port] = now + _RETRY_SECONDS
            problem = f"cannot listen on port {port}: {error.strerror or error}"
            if self.problems.get(port) != problem:
                log.warning("health check of a Service", extra={"problem": problem})
            self.problems[port] = problem
        else:
            self._retry_at.pop(port, None)
            self.problems.pop(port, None)

    def _handler(self, port: int) -> Handler:
        async def handle(_: Request) -> Response:
            sight = self._look()
            check = next((one for one in sight.desired.health_checks if one.port == port), None)
            if check is None:
                return json_response({"error": "no Service has this port any more"}, 503)
            return answer(sight, check)

        return handle


def _socket(port: int) -> socket.socket:
    """Every address of the node, of both families where there are two, as the cluster's proxy does."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("0.0.0.0", port))
