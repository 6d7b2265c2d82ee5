"""What the feed asks of its source."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from announcer.model.desired import Desired
from announcer.run.feed import Feed
from announcer.run.settings import AgentSettings
from announcer.snapshot import Snapshot
from announcer.sources.folder import FolderSource


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
    )
    feed = Feed(AgentSettings(node_name="n1", source=tmp_path, state_dir=tmp_path), agent, source)

    async def follow() -> None:
        task = asyncio.ensure_future(feed._follow_drain())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(follow())
    assert source.looks == 1
