"""When the agent's end of the speaker's socket asks for a sign of life: while it waits for an answer, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from announcer.model.observed import BgpObserved
from bgpd import messages
from bgpd.client import SpeakerClient
from tests.kube.virtual_time import run_virtually

BEATS = [0.5, 1.0, 1.5]
GIVEN_UP = 2.0
LONG = 100.0


class Speaker:
    """Takes down when it is asked for what, and answers if it is told to."""

    def __init__(self, *, observes: bool = False, lives: bool = False) -> None:
        self.observes, self.lives = observes, lives
        self.asked: list[tuple[float, messages.Request]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while line := await reader.readline():
            request = messages.parse_request(line)
            self.asked.append((asyncio.get_running_loop().time(), request))
            if isinstance(request, messages.Observe) and self.observes:
                writer.write(messages.reply_line(messages.Observed(request.id, BgpObserved(reachable=True))))
            elif isinstance(request, messages.Hello) and self.lives:
                writer.write(messages.reply_line(messages.Greeting(request.id, 1)))
        writer.close()

    def beats(self, since: float) -> list[float]:
        """After how many seconds it was asked for a sign of life."""
        return [at - since for at, request in self.asked if isinstance(request, messages.Hello)]


def with_client(
    folder: Path, speaker: Speaker, work: Callable[[SpeakerClient, Callable[[], float]], Awaitable[None]]
) -> None:
    async def main() -> None:
        path = folder / "speaker.sock"
        client = SpeakerClient(path)
        async with await asyncio.start_unix_server(speaker.serve, path):
            await work(client, asyncio.get_running_loop().time)
            await client.close()
            await asyncio.sleep(1)  # a virtual one, in which the other end learns of it

    run_virtually(main())


def test_none_is_asked_for_while_nothing_is_waited_for(tmp_path: Path) -> None:
    speaker = Speaker(observes=True)

    async def work(client: SpeakerClient, _: Callable[[], float]) -> None:
        for expected in (1, 2, 3):
            assert (await client.observe()).reachable
            assert client._beating is None, "or it would wake for nothing"
            await asyncio.sleep(LONG)
            assert len(speaker.asked) == expected

    with_client(tmp_path, speaker, work)


def test_a_speaker_that_stands_still_is_found_out_in_two_seconds(tmp_path: Path) -> None:
    """From then on nothing is asked any more, until there is a sign of life."""
    speaker = Speaker()

    async def work(client: SpeakerClient, time: Callable[[], float]) -> None:
        await client.start()
        await client.changed.wait()
        began = time()
        assert not (await client.observe()).reachable
        assert time() - began == pytest.approx(GIVEN_UP, abs=0.1)
        assert client.silent
        assert speaker.beats(began) == pytest.approx(BEATS, abs=0.1)
        await asyncio.sleep(LONG)
        assert not (await client.observe()).reachable
        assert len(speaker.asked) == 1 + len(BEATS)
        client.changed.clear()
        speaker.observes = True
        speaker.writers[0].write(messages.reply_line(messages.Changed()))
        await client.changed.wait()
        assert (await client.observe()).reachable

    with_client(tmp_path, speaker, work)


def test_one_that_lives_may_take_its_time(tmp_path: Path) -> None:
    speaker = Speaker(lives=True)

    async def work(client: SpeakerClient, time: Callable[[], float]) -> None:
        await client.start()
        await client.changed.wait()
        began = time()
        assert not (await client.observe()).reachable
        assert time() - began == pytest.approx(5.0, abs=0.1)
        assert not client.silent
        assert speaker.beats(began)[: len(BEATS)] == pytest.approx(BEATS, abs=0.1)

    with_client(tmp_path, speaker, work)
