"""What thousands of steps took for a moment is given back, and not looked for after every step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from announcer.model.bgp import Route
from announcer.model.observed import Outcome, OutcomeState
from announcer.model.steps import Announce, AnyStep
from bgpd import server
from bgpd.client import SpeakerClient
from bgpd.core import Core
from bgpd.memory import give_back
from bgpd.publication import Publication

SECONDS = 30.0


async def done(steps: Sequence[AnyStep]) -> list[Outcome]:
    return [Outcome(step=step, state=OutcomeState.DONE) for step in steps]


@pytest.mark.parametrize(("count", "given_back"), [(10_000, True), (10, False)])
def test_after_many_steps_memory_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, given_back: bool
) -> None:
    steps = [
        Announce(lane="x", peer="r1", route=Route(nlri=IPv4Network((0x0A000000 + 256 * number, 24))))
        for number in range(count)
    ]

    async def ask() -> None:
        trimmed = asyncio.Event()
        monkeypatch.setattr(server, "give_back", trimmed.set)
        monkeypatch.setattr(server, "GIVE_BACK_SECONDS", 0.0)
        made = server.Server(Publication(Core()).answer, done)
        await made.listen(tmp_path / "speaker.sock")
        client = SpeakerClient(tmp_path / "speaker.sock")
        assert await client.apply(steps) == await done(steps)
        await client.observe()  # and so much later it would have happened
        if given_back:
            await asyncio.wait_for(trimmed.wait(), SECONDS)
        assert trimmed.is_set() is given_back
        await client.close()
        await made.close()

    asyncio.run(ask())


def test_the_kernel_takes_it() -> None:
    give_back()
