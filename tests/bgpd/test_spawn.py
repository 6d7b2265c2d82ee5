"""The detached speaker of a standalone agent: started once, found again, outlives its starter."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bgpd.client import SpeakerClient
from bgpd.spawn import ensure_speaker
from tests.bgpd.rig import ROOT, eventually

PROGRAM = """
import asyncio, pathlib, sys
from bgpd.spawn import ensure_speaker
print(asyncio.run(ensure_speaker(pathlib.Path(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder; whatever speaker was started for it is ended, also one that does not answer yet."""
    folder = tmp_path / "state"
    yield folder
    left = subprocess.run(["pgrep", "-f", "--", f"--state-dir {folder}$"], capture_output=True, text=True, check=False)
    for pid in map(int, left.stdout.split()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_it_outlives_its_starter_and_is_found_again(state_dir: Path) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        for _ in range(2)
    ]
    pids = set()
    for starter in starters:
        assert starter.stdout is not None
        pids.add(int(starter.stdout.readline()))
    assert len(pids) == 1, "two starters at once make one speaker"
    (pid,) = pids
    for starter in starters:
        starter.kill()
        starter.communicate()
    assert asyncio.run(ensure_speaker(state_dir)) == pid
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert (state_dir / "speaker.sock").stat().st_mode & 0o777 == 0o600
    assert state_dir.stat().st_mode & 0o777 == 0o700

    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (state_dir / "speaker.sock").exists())


def test_a_client_without_a_speaker_says_so(tmp_path: Path) -> None:
    async def ask() -> None:
        client = SpeakerClient(tmp_path / "speaker.sock")
        seen = await client.observe()
        assert not seen.reachable
        assert str(tmp_path / "speaker.sock") in seen.problem
        with pytest.raises(ConnectionError):
            await client.hello()
        await client.close()

    asyncio.run(ask())


def test_a_client_finds_a_speaker_that_comes_later(state_dir: Path) -> None:
    async def ask() -> None:
        client = SpeakerClient(state_dir / "speaker.sock")
        assert not (await client.observe()).reachable
        client.changed.clear()
        await ensure_speaker(state_dir)
        async with asyncio.timeout(5):
            await client.changed.wait()
        assert (await client.observe()).reachable
        await client.close()

    asyncio.run(ask())
