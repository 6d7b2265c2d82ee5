"""Writing Events: the only thing that an agent ever writes to an API server."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
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

#: How often to look for news, in seconds.
_LOOK = 1.0

#: Events about a Node are kept there; it has no namespace of its own.
_NODE_NAMESPACE = "default"


class EventWriter:
    """Looks at the agent now and then, and tells the cluster what changed. An Event that cannot be written is lost."""

    def __init__(self, access: Access, node_name: str, look: Callable[[], Sight]) -> None:
        """``look`` gives the present moment of the agent."""
        self._access = access
        self._node = node_name
        self._look = look
        self._bulletin = Bulletin(time.monotonic())

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            sight = self._look()
            present = notices(sight)
            news = self._bulletin.fold(present, sight.now)
            self._bulletin.forget(present)
            if news:
                await self._write(news)

    async def _write(self, news: list[tuple[About, Notice]]) -> None:
        timing = Timing(connect=3.0, answer=5.0)
        try:
            async with self._access.connect(timing) as connection:
                for about, notice in news:
                    await self._post(connection, about, notice)
        except (Trouble, aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            # The status has it all the same, and the next change is told again.
            log.info("Events could not be written: %s", error)

    async def _post(self, connection: Connection, about: About, notice: Notice) -> None:
        namespace = about.key.namespace or _NODE_NAMESPACE
        uid = await self._uid(connection, about)
        if uid is None:
            return
        body = event(about, notice, uid=uid, node=self._node, now=datetime.now(UTC))
        async with connection.post(f"/api/v1/namespaces/{namespace}/events", msgspec.json.encode(body)) as answer:
            if answer.status == 401:
                self._access.refused()
            if answer.status >= 300:
                log.info("an Event was refused: %s %s", answer.status, (await answer.text())[:200])

    async def _uid(self, connection: Connection, about: About) -> str | None:
        """What ``kubectl describe`` looks for; None if the object is gone."""
        if about.kind is Kind.NODE:
            return about.key.name  # as the kubelet has it
        path = f"/api/v1/namespaces/{about.key.namespace}/services/{about.key.name}"
        async with connection.get(path, {}) as answer:
            if answer.status != 200:
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
