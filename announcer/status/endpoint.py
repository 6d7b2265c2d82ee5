"""What the status endpoint answers, path by path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from announcer.snapshot import ConfigState
from announcer.status import explain, page, preview, report, routes
from announcer.status.exposition import exposition
from announcer.status.http import Request, Response, json_response
from announcer.status.metrics import families
from announcer.status.pieces import Work, bit_by_bit, encoded
from announcer.status.sight import Sight


class Tracer(Protocol):
    """Runs a packet through the attached programs without sending it."""

    def trace(self, query: dict[str, str]) -> dict[str, Any]:
        """The trace as JSON. Raises ``ValueError`` with a message for people if the question is wrong."""
        ...


#: Paths that show one value of the agent and take no question.
_VIEWS: dict[str, Callable[[Sight], Work[Any]]] = {
    "/v1/status": report.status_bit_by_bit,
    "/v1/peers": report.peers_alone,
    "/v1/vips": report.vips_alone,
    "/v1/routes": routes.routes,
}


#: Paths that other machines may ask for.
_PUBLIC = frozenset({"/metrics", "/healthz", "/readyz"})


class Endpoint:
    """The handler of the status server."""

    def __init__(
        self,
        look: Callable[[], Sight],
        tracer: Tracer,
        registries: tuple[CollectorRegistry, ...],
        *,
        aliases: bool = False,
    ) -> None:
        """``look`` gives the agent's values now; ``registries`` hold metrics that are counted, not looked at.

        ``aliases``: metrics also under the names of MetalLB's speaker.
        """
        self._look = look
        self._tracer = tracer
        self._aliases = aliases
        self._registries = registries

    async def handle_public(self, request: Request) -> Response:
        """Answer one request of a stranger: health and metrics, which name no more than a router knows anyway."""
        if request.path not in _PUBLIC:
            return json_response({"error": f"there is nothing at {request.path}"}, 404)
        return await self.handle(request)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.method not in (("POST",) if request.path == "/v1/plan" else ("GET", "HEAD")):
            return json_response({"error": f"{request.method} {request.path} is not a question of this endpoint"}, 405)
        view = _VIEWS.get(request.path)
        if view is not None:
            return json_response(await bit_by_bit(_encoded(view(self._look()))))
        match request.path:
            case "/healthz":
                return Response(200, b"ok\n", "text/plain; charset=utf-8")
            case "/readyz":
                return self._ready()
            case "/metrics":
                found = families(self._look(), aliases=self._aliases)
                body = await bit_by_bit(exposition(found, self._registries))
                return Response(200, body, CONTENT_TYPE_LATEST)
            case "/v1/explain":
                return self._explain(request)
            case "/v1/plan":
                # Two whole decisions. They cannot stop in between, but a thread can be made to.
                snapshot = self._look().snapshot
                return json_response(await asyncio.to_thread(preview.plan_answer, snapshot, request.body))
            case "/v1/trace":
                return await self._trace(request)
            case "/":
                text = await bit_by_bit(page.render(self._look()))
                return Response(200, text.encode(), "text/html; charset=utf-8")
        return json_response({"error": f"there is nothing at {request.path}"}, 404)

    def _ready(self) -> Response:
        """Ready: everything that this node needs to do its work is there; not: that there is something to announce."""
        lacks = unready(self._look())
        body = "".join(f"{lack}\n" for lack in lacks) or "ok\n"
        return Response(503 if lacks else 200, body.encode(), "text/plain; charset=utf-8")

    def _explain(self, request: Request) -> Response:
        target = request.query.get("target", "")
        if not target:
            return json_response({"error": "give ?target=VIP or ?target=NAMESPACE/NAME"}, 400)
        return json_response(explain.explain(self._look(), target))

    async def _trace(self, request: Request) -> Response:
        try:
            answer = self._tracer.trace(request.query)
        except ValueError as error:
            return json_response({"error": str(error)}, 400)
        await asyncio.sleep(0)
        return json_response(answer)


def _encoded(view: Work[Any]) -> Work[Any]:
    """What ``view`` makes, long lists in it as JSON already."""
    return (yield from encoded((yield from view)))


def unready(sight: Sight) -> list[str]:
    """What is missing before this node can do its work; empty if nothing is."""
    lacks: list[str] = []
    if not sight.snapshot.synced:
        lacks.append("the source has not delivered its first complete state")
    if not sight.snapshot.complete:
        lacks.append("part of the source cannot be understood; until it can, nothing is taken away")
    if sight.snapshot.config.config is None:
        state = sight.snapshot.config.state
        lacks.append(f"the bgp-config is {ConfigState(state).value}")
    if not sight.observed.bgp.reachable:
        lacks.append("the speaker does not answer")
    if sight.observed.datapath.problem:
        lacks.append(f"datapath: {sight.observed.datapath.problem}")
    elif sight.desired.frontends and not sight.observed.datapath.attached:
        lacks.append("the programs are not attached to every ingress device")
    return lacks
