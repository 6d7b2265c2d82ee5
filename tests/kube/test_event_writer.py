"""Events reach an API server that was away, each once, with the time of what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from announcer.model.bgp import PeerState
from announcer.run import events
from announcer.run.events import EventWriter
from announcer.sources.kube import ClusterAccess
from announcer.status.sight import Sight
from tests.announcer.build import node, service, snapshot
from tests.announcer.status.test_status import ALL_WELL, sight, with_peer, working
from tests.announcer.test_plan import NOW
from tests.kube.scripted import Fault, Request, ScriptedServer, refusal
from tests.kube.worlds import scripted_kubeconfig

UP = sight(working(), ALL_WELL)
LONG = 20.0  # seconds, more than any pause between two tries


def down(why: str, seconds: float) -> Sight:
    seen = sight(working(), with_peer(ALL_WELL, state=PeerState.ACTIVE, last_error=why))
    return msgspec.structs.replace(seen, now=NOW + seconds)


def written(folder: Path, moments: list[tuple[Fault, Sight]]) -> tuple[ScriptedServer, EventWriter]:
    """What a server holds that behaved so at each of these moments."""

    async def tell() -> tuple[ScriptedServer, EventWriter]:
        async with ScriptedServer().running() as server:
            writer = EventWriter(
                ClusterAccess(kubeconfig=scripted_kubeconfig(server, folder)), "n1", lambda: UP, clock=lambda: NOW
            )
            for fault, moment in moments:
                server.fault = fault
                await writer.round(moment)
            return server, writer

    return asyncio.run(tell())


def well(_: object) -> web.Response | None:
    return None


def answers(code: int) -> Callable[[object], web.Response]:
    return lambda _: refusal(code)


def messages(server: ScriptedServer) -> list[str]:
    return [one["message"] for one in server.created if one["reason"] == "PeerDown"]


@pytest.mark.parametrize("code", [401, 429, 500, 503])
def test_what_could_not_be_written_is_written_later_once(tmp_path: Path, code: int) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    server, _ = written(
        tmp_path,
        [(answers(code), down("refused", 0)), (well, down("refused", LONG)), (well, down("refused", 2 * LONG))],
    )
    assert len(messages(server)) == 1
    assert datetime.fromisoformat(server.created[0]["firstTimestamp"]) >= before


def test_a_server_that_is_away_is_left_alone_for_a_while(tmp_path: Path) -> None:
    server, _ = written(tmp_path, [(answers(503), down("refused", 0)), (well, down("refused", 1))])
    assert len(server.requests) == 1
    assert not server.created


def test_only_the_newest_word_about_a_thing_is_written(tmp_path: Path) -> None:
    server, _ = written(tmp_path, [(answers(503), down("first", 0)), (well, down("second", LONG))])
    assert len(messages(server)) == 1
    assert "second" in messages(server)[0]


def test_what_a_server_will_never_take_is_given_up(tmp_path: Path) -> None:
    server, _ = written(tmp_path, [(answers(403), down("refused", 0)), (well, down("refused", LONG))])
    assert not server.created


def test_a_service_that_must_not_be_read_holds_up_no_other_event(tmp_path: Path) -> None:
    """Events go out in order, so one that can never be written must not stay at the head."""
    first, second = (service(name, vip=f"203.0.113.{10 + at}") for at, name in enumerate(("a", "b")))
    unserved = sight(snapshot(node(), first, second), ALL_WELL)

    def answer(asked: Request) -> web.Response | None:
        if asked.path.endswith("/services/a"):
            return refusal(403)
        return web.json_response({"metadata": {"uid": "u"}}) if asked.path.endswith("/services/b") else None

    server, _ = written(tmp_path, [(answer, unserved), (answer, msgspec.structs.replace(unserved, now=NOW + LONG))])
    assert [one["involvedObject"]["name"] for one in server.created if one["reason"] == "NoEndpoints"] == ["b"]


def test_what_waits_has_a_limit_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_WAITING", 1)
    two = msgspec.structs.replace(down("refused", 0), source_problems=("away",), stale_seconds=9.0)
    server, _ = written(tmp_path, [(answers(503), two), (well, msgspec.structs.replace(two, now=NOW + LONG))])
    assert [one["reason"] for one in server.created] == ["SourceAway"]
