"""Asking over real sockets: what each kind of answer counts as, and how soon it is known."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from announcer.kubeproxy import Health
from announcer.kubeproxy import health as asking
from announcer.model.desired import HealthCheck, Reason
from tests.announcer.build import ip, key
from tests.lab import until
from tests.lab.kube_proxy import serve

VIP = ip("203.0.113.1")
HERE = ip("127.0.0.1")


@contextlib.asynccontextmanager
async def following(health: Health, *checks: HealthCheck) -> AsyncIterator[list[None]]:
    news: list[None] = []
    task = asyncio.create_task(health.follow(lambda: checks, lambda: (HERE,), lambda: news.append(None)))
    try:
        yield news
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def that(health: Health, words: str) -> None:
    """Wait until the latest answer has these words (none: until it is good)."""

    def said() -> bool:
        probe = health.proxy
        return probe is not None and (words in probe.problem if words else probe.ok)

    await asyncio.to_thread(until, said, f"kube-proxy to be {words or 'healthy'}", 20)


def test_every_kind_of_answer(tmp_path: Path) -> None:
    async def run() -> None:
        server = serve(tmp_path, 0)
        port = server.server_address[1]
        said = tmp_path / str(port)
        health = Health(f"http://127.0.0.1:{port}/healthz")
        async with following(health) as news:
            await that(health, "")
            said.write_text("503")
            await that(health, 'answers 503: {"lastUpdated"')
            await that(health, '"nodeEligible": false')
            said.write_text("hang")
            await that(health, "does not answer within")
            said.write_text("200")
            await that(health, "")
            assert len(news) >= 4, "the agent is woken for each change"
            server.shutdown()
            server.server_close()
            await that(health, "cannot be reached: Connect")

    asyncio.run(run())


def test_something_else_on_the_port_is_no_kube_proxy() -> None:
    async def run() -> None:
        async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"220 mail.example ESMTP\r\n")
            writer.close()

        server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        health = Health(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/healthz")
        async with following(health):
            await that(health, "http://127.0.0.1")
        server.close()

    asyncio.run(run())


def test_the_port_of_a_service_counts_where_kube_proxy_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_TIMEOUT", 20.0)  # who is slow here is no kube-proxy, but the machine

    async def run() -> None:
        server = serve(tmp_path, 0)
        port = server.server_address[1]
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = closed.getsockname()[1]
        asked = HealthCheck(service=key("web"), port=port, vips=(VIP,), local_endpoints=1)
        silent = HealthCheck(service=key("other"), port=nobody, vips=(ip("203.0.113.2"),), local_endpoints=1)
        leaving = HealthCheck(
            service=key("gone"), port=port, vips=(ip("203.0.113.3"),), local_endpoints=1, refused=Reason.NODE_DRAINING
        )
        (tmp_path / str(port)).write_text("503")
        health = Health(f"http://127.0.0.1:{nobody}/healthz")
        async with following(health, asked, silent, leaving):
            await asyncio.to_thread(until, lambda: health.vips, "what it has against the Service", 20)
            assert list(health.vips) == [VIP], "one that does not listen has said nothing"
            assert '"localEndpoints": 0' in health.vips[VIP]
            (tmp_path / str(port)).write_text("200")
            await asyncio.to_thread(until, lambda: not health.vips, "that it has nothing any more", 20)
        server.shutdown()
        server.server_close()

    asyncio.run(run())
