"""An ExaBGP that is started before it is wanted: says of a configuration what another would say, and then starts."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from announcer.model.errors import TargetError
from bgpd.engine import Engine
from bgpd.render import render
from bgpd.settings import SpeakerSettings
from bgpd.validation import _asked, _of_its_own
from tests.bgpd.rig import neighbor

RELAY = Path(__file__).parents[2] / "bgpd" / "relay.py"
WRONG = "neighbor 10.0.0.1 {\n    secret-canary 5;\n}\n"
SECONDS = 30.0


def good(folder: Path) -> str:
    chosen = neighbor(router_id=IPv4Address("10.99.0.1"))
    return render([chosen], python=Path(sys.executable), relay=RELAY, relay_socket=folder / "relay.sock")


@asynccontextmanager
async def prepared(folder: Path) -> AsyncIterator[Engine]:
    engine = Engine(SpeakerSettings(state_dir=folder), lambda: None, lambda _: None)
    await engine.prepare()
    try:
        yield engine
    finally:
        await engine.terminate()


@pytest.mark.parametrize(("text", "refused"), [(WRONG, True), (None, False)], ids=["wrong", "good"])
def test_it_says_what_another_says_and_is_still_there(tmp_path: Path, text: str | None, refused: bool) -> None:
    file = tmp_path / "new"
    file.write_text(text or good(tmp_path))

    async def ask() -> None:
        async with prepared(tmp_path) as engine:
            process = engine._prepared
            assert process is not None
            answers = [await _asked(process, file), await _asked(process, file), await _of_its_own(file)]
            verdicts = [answer and (bool(answer[0]), answer[1]) for answer in answers]
            assert verdicts == [(refused, 2 if refused else 0)] * 3
            assert process.returncode is None

    asyncio.run(ask())


def test_it_starts_with_what_it_was_given(tmp_path: Path) -> None:
    async def start() -> None:
        async with prepared(tmp_path) as engine:
            ready = engine._prepared
            pids = [engine.pid]
            connected = asyncio.Event()

            async def relayed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                connected.set()
                writer.close()

            async with await asyncio.start_unix_server(relayed, tmp_path / "relay.sock"):
                await engine.configure(good(tmp_path))
                await engine.start()
                pids.append(engine.pid)
                assert ready is not None
                assert pids == [None, ready.pid], "it does not run before it is told to"
                async with asyncio.timeout(SECONDS):
                    await connected.wait()

    asyncio.run(start())


def test_one_that_was_killed_is_done_without(tmp_path: Path) -> None:
    async def ask() -> None:
        async with prepared(tmp_path) as engine:
            assert engine._prepared is not None
            engine._prepared.kill()
            await engine._prepared.wait()
            with pytest.raises(TargetError, match="line 2"):
                await engine.configure(WRONG)
            await engine.configure(good(tmp_path))
            await engine.start()
            assert engine.pid is not None

    asyncio.run(ask())


def test_one_that_does_not_say_is_ended(tmp_path: Path) -> None:
    """It is stopped, and its answers end: nobody waits for the deadline."""

    async def ask() -> None:
        async with prepared(tmp_path) as engine:
            process = engine._prepared
            assert process is not None
            assert process.stdout is not None
            process.send_signal(signal.SIGSTOP)
            process.stdout.feed_eof()
            assert await _asked(process, tmp_path / "new") is None
            assert process.returncode == -signal.SIGKILL
            await engine.configure(good(tmp_path))
            await engine.start()
            pids = [process.pid, engine.pid]
            assert len({*pids} - {None}) == 2

    asyncio.run(ask())


def test_one_that_is_not_wanted_ends(tmp_path: Path) -> None:
    async def end() -> None:
        async with prepared(tmp_path) as engine:
            process = engine._prepared
        assert process is not None
        assert process.returncode == -signal.SIGKILL

    asyncio.run(end())
