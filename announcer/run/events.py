"""Writing Events: the only thing that an agent ever writes to an API server."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from announcer.model.objects import Kind
from announcer.sources.kube import Access, Timing
from announcer.sources.kube.access import Connection
from announcer.sources.kube.patience import Trouble
from announcer.status.bulletin import Bulletin
from announcer.status.notices import About, Notice, notices
from announcer.status.sight import Sight

log = logging.getLogger(__name__)

#: How often to look for news, in seconds; with so many Services that it takes long, so rarely that it takes one percent
#: of the time.
_LOOK, _COST_FACTOR = 1.0, 100.0

#: After an Event could not be written: when to try again, in seconds. At random, since every agent of a cluster may
#: find the same API server away.
_PAUSE = (5.0, 15.0)

#: Events that wait to be written. What does not fit is lost, oldest first; the status has it all the same.
_WAITING = 100

#: What an API server may take later (besides 5xx): a new token is read, a load is shed.
_FOR_NOW = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS})

#: Events about a Node are kept there; it has no namespace of its own.
_NODE_NAMESPACE = "default"


class EventWriter:
    """Looks at the agent now and then, and tells the cluster what changed.

    What could not be written waits, for the reason is often the very thing to be told: an API server that was away.
    """

    def __init__(
        self, access: Access, node_name: str, look: Callable[[], Sight], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``look`` gives the present moment of the agent; ``clock`` the time in which it is told."""
        self._access = access
        self._node = node_name
        self._look = look
        self._clock = clock
        self._cost = 0.0
        self._bulletin = Bulletin(clock())
        self._waiting: dict[About, tuple[Notice, datetime]] = {}
        self._not_before = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(max(_LOOK, _COST_FACTOR * self._cost))
            await self.round(self._look())

    async def round(self, sight: Sight) -> None:
        """Find what is new in one moment of the agent, and write what waits, unless that failed a moment ago."""
        began = self._clock()
        present = notices(sight)
        for about, notice in self._bulletin.fold(present, sight.now):
            self._waiting.pop(about, None)  # the newer word goes to the end, and is the only one
            self._waiting[about] = (notice, datetime.now(UTC))
        self._bulletin.forget(present)
        while len(self._waiting) > _WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._cost = self._clock() - began
        if self._waiting and sight.now >= self._not_before:
            await self._write(sight.now)

    async def _write(self, now: float) -> None:
        timing = Timing(connect=3.0, answer=5.0)
        try:
            async with self._access.connect(timing) as connection:
                for about, (notice, since) in list(self._waiting.items()):
                    await self._post(connection, about, notice, since)
                    del self._waiting[about]
        except (Trouble, aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            self._not_before = now + random.uniform(*_PAUSE)
            log.info("%d Events could not be written, they wait: %s", len(self._waiting), error)

    async def _post(self, connection: Connection, about: About, notice: Notice, since: datetime) -> None:
        """Write one; one that the API server will never take is given up.

        Raises Trouble if it may be taken later.
        """
        namespace = about.key.namespace or _NODE_NAMESPACE
        uid = await self._uid(connection, about)
        if uid is None:
            return
        body = event(about, notice, uid=uid, node=self._node, now=since)
        async with connection.post(f"/api/v1/namespaces/{namespace}/events", msgspec.json.encode(body)) as answer:
            if answer.status >= 300:
                await self._refused(answer)

    async def _refused(self, answer: aiohttp.ClientResponse) -> None:
        """Say so if it is for good. Raises Trouble if the same may be answered well later."""
        problem = f"refused: {answer.status} {(await answer.text())[:200]}"
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._access.refused()
        if answer.status in _FOR_NOW or answer.status >= 500:
            raise Trouble(problem)
        log.info("an Event is given up, %s", problem)

    async def _uid(self, connection: Connection, about: About) -> str | None:
        """What ``kubectl describe`` looks for; None if the object is gone or must not be read.

        Raises Trouble if that is not known yet.
        """
        if about.kind is Kind.NODE:
            return about.key.name  # as the kubelet has it
        path = f"/api/v1/namespaces/{about.key.namespace}/services/{about.key.name}"
        async with connection.get(path, {}) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            if answer.status != HTTPStatus.OK:
                await self._refused(answer)
                return None
            return msgspec.json.decode(await answer.read(), type=_Identified).metadata.uid


class _Uid(msgspec.Struct, frozen=True):
    uid: str = ""


class _Identified(msgspec.Struct, frozen=True):
    metadata: _Uid


def event(about: About, notice: Notice, *, uid: str, node: str, now: datetime) -> dict[str, Any]:
    """A core/v1 Event. Its name must be new, and must not be longer than 253 characters."""
    namespace = about.key.namespace or _NODE_NAMESPACE
    stamp = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.key.name[:230]}.{secrets.token_hex(8)}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": str(about.kind),
            "name": about.key.name,
            "uid": uid,
            **({"namespace": namespace} if about.key.namespace else {}),
        },
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "message": notice.message,
        "source": {"component": "lockstep", "host": node},
        "reportingComponent": "lockstep",
        "reportingInstance": node,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
