"""What the feed asks of its source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from announcer.model.desired import Desired
from announcer.run.drain import OPERATOR, DrainFile
from announcer.run.feed import Feed
from announcer.run.news import News
from announcer.run.settings import AgentSettings
from announcer.snapshot import Snapshot
from announcer.sources.folder import FolderSource
from tests.lab import until

#: Far longer than anything takes; only a test that fails waits for it.
DEADLINE = 20.0


class Asked(FolderSource):
    """Counts how often it was to look again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.looks = 0

    def look_again(self) -> None:
        self.looks += 1


def test_nodes_are_looked_at_when_packets_are_first_sent_to_them_and_when_they_are_back(tmp_path: Path) -> None:
    source = Asked(tmp_path)
    agent: Any = SimpleNamespace(drain=lambda _: None)
    feed = Feed(AgentSettings(node_name="n1", source=tmp_path, state_dir=tmp_path), agent, source)
    seen = []
    for sent_to in ((), ("n2",), ("n2",), ("n2", "n3"), ("n3",), (), ("n2",)):
        feed._look_for(frozenset(sent_to))
        seen.append(source.looks)
    assert seen == [0, 1, 1, 2, 2, 2, 3]


def test_the_nodes_of_the_last_decision_are_looked_at(tmp_path: Path) -> None:
    source = Asked(tmp_path)
    agent: Any = SimpleNamespace(
        drain=lambda _: None,
        know_nodes=lambda _: None,
        snapshot=Snapshot(revision=1, node_name="n1"),
        desired=Desired(revision=1, synced=True, by_nodes=frozenset({"n2"})),
        decided=News(),
    )
    feed = Feed(AgentSettings(node_name="n1", source=tmp_path, state_dir=tmp_path), agent, source)

    async def follow() -> None:
        task = asyncio.ensure_future(feed._follow_nodes())
        await asyncio.sleep(0)
        assert source.looks == 1
        agent.desired = Desired(revision=2, synced=True, by_nodes=frozenset({"n2", "n3"}))
        agent.decided.tell()
        await _until(lambda: source.looks == 2)
        task.cancel()

    asyncio.run(follow())


def test_the_wish_to_drain_is_seen_without_looking_every_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("announcer.run.feed._DRAIN_LOOK_SECONDS", 600.0)
    monkeypatch.setattr("announcer.run.feed._DRAIN_POLL_SECONDS", 600.0)
    words: list[str] = []
    agent: Any = SimpleNamespace(drain=words.append)
    feed = Feed(AgentSettings(node_name="n1", source=tmp_path, state_dir=tmp_path), agent, Asked(tmp_path))

    async def follow() -> None:
        task = asyncio.ensure_future(feed._follow_drain())
        await asyncio.sleep(0)
        words.clear()
        file = DrainFile(tmp_path)
        file.set("now")
        await _until(lambda: words[-1:] == [OPERATOR])
        file.clear()
        await _until(lambda: words[-1:] == [""])
        task.cancel()

    asyncio.run(follow())


async def _until(met: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, met, "the feed has heard of it")


def test_news_are_heard_by_all_and_not_missed_by_one_who_is_busy() -> None:
    async def main() -> None:
        news = News()
        known = news.count
        one, two = (asyncio.ensure_future(news.after(known)) for _ in range(2))
        await asyncio.sleep(0)
        assert not one.done()
        news.tell()
        await asyncio.wait_for(asyncio.gather(one, two), DEADLINE)
        await asyncio.wait_for(news.after(known), DEADLINE)
        late = asyncio.ensure_future(news.after(news.count))
        await asyncio.sleep(0)
        assert not late.done(), "that is known already"
        late.cancel()
        await asyncio.wait_for(news.after(news.count, 0.01), DEADLINE)

    asyncio.run(main())
