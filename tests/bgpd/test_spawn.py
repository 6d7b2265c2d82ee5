"""The detached speaker of a standalone agent: started once, found again, outlives its starter."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from announcer.model.steps import EndOfRib
from bgpd.client import SpeakerClient
from bgpd.liveness import read_process
from bgpd.spawn import begin_speaker, ensure_speaker
from tests.bgpd.rig import ROOT, eventually
from tests.lab.agents import LOCKSTEP

PROGRAM = """
import asyncio, pathlib, sys
from bgpd.spawn import begin_speaker, ensure_speaker
print(asyncio.run(ensure_speaker(pathlib.Path(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder; whatever speaker was started for it is ended, also one that does not answer yet."""
    folder = tmp_path / "state"
    yield folder
    for pid in speakers(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def speakers(folder: Path) -> set[int]:
    """Process ids of those that were started for this folder, also of one that is about to find another there."""
    found = subprocess.run(["pgrep", "-f", "--", f"--state-dir {folder}$"], capture_output=True, text=True, check=False)
    return set(map(int, found.stdout.split()))


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

    # The one that came too late would take the place of this one, if it were still on its way.
    eventually(lambda: speakers(state_dir) == {pid})
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (state_dir / "speaker.sock").exists())


def test_one_that_was_begun_is_waited_for(state_dir: Path) -> None:
    begin_speaker(state_dir)
    pid = asyncio.run(ensure_speaker(state_dir, begun=True))
    begin_speaker(state_dir)
    assert asyncio.run(ensure_speaker(state_dir)) == pid
    assert "another speaker" not in (state_dir / "speaker.log").read_text(), "no second one was started"


def test_a_speaker_that_was_stopped_is_told_to_go_on(state_dir: Path) -> None:
    pid = asyncio.run(ensure_speaker(state_dir))
    os.kill(pid, signal.SIGSTOP)
    assert asyncio.run(ensure_speaker(state_dir)) == pid
    assert state(pid) != "T"


@pytest.mark.parametrize("patience", [1.0, 600.0], ids=["ended", "control: waited for"])
def test_a_speaker_that_hangs_is_ended_and_replaced(
    state_dir: Path, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "bgpd" / "hang"))

    async def ensure() -> int | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(30 if patience < 30 else 5):
                return await ensure_speaker(state_dir, patience=patience)
        return None

    hung = asyncio.run(ensure_speaker(state_dir))
    os.kill(hung, signal.SIGWINCH)
    found = asyncio.run(ensure())
    if patience < 30:
        assert found not in (None, hung)
        eventually(lambda: state(hung) in ("", "Z"))
    else:
        assert found is None
        assert state(hung) == "S"


def state(pid: int) -> str:
    found = read_process(pid)
    return found.state if found else ""


def test_nobody_waits_for_a_speaker_that_gives_no_sign_of_life(state_dir: Path) -> None:
    async def ask(pid: int) -> None:
        client = SpeakerClient(state_dir / "speaker.sock")
        assert (await client.observe()).reachable
        assert client.speaker_pid == pid
        os.kill(pid, signal.SIGSTOP)
        seen, applied = await asyncio.gather(client.observe(), client.apply([EndOfRib(lane="x", peer="x", session=1)]))
        assert (seen.reachable, client.silent) == (False, True)
        assert "no sign of life" in seen.problem
        assert "no sign of life" in applied[0].problem
        assert "no sign of life" in (await client.observe()).problem, "and is not even asked"
        client.changed.clear()
        os.kill(pid, signal.SIGCONT)
        await client.changed.wait()
        assert (await client.observe()).reachable
        await client.close()

    asyncio.run(ask(asyncio.run(ensure_speaker(state_dir))))


def test_the_command_line_says_whether_it_is_alive(state_dir: Path) -> None:
    asked = [str(LOCKSTEP), "speaker", "--alive", f"--state-dir={state_dir}"]
    nobody = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert nobody.stderr.startswith(f"lockstep: the speaker of {state_dir} does not answer")
    pid = asyncio.run(ensure_speaker(state_dir))
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == f"process {pid}\n"
    os.kill(pid, signal.SIGSTOP)
    assert "no sign of life" in subprocess.run(asked, capture_output=True, text=True, check=False).stderr


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


def test_the_process_can_be_asked_for_while_the_connection_ends(tmp_path: Path) -> None:
    """At each turn of the loop: for one of them the socket is closed, and the client does not know it yet."""

    async def ask() -> list[int | None]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "speaker.sock"))
            listener.listen()
            listener.setblocking(False)
            client = SpeakerClient(tmp_path / "speaker.sock")
            asked = asyncio.create_task(client.hello())
            speaker, _ = await asyncio.get_running_loop().sock_accept(listener)
        async with asyncio.timeout(30):
            await asyncio.to_thread(select.select, [speaker], [], [], 30)
            speaker.close()  # as if killed: what was asked was not read, so the other end sees a reset
            seen = [client.speaker_pid]
            while seen[-1] is not None:
                await asyncio.sleep(0)
                seen.append(client.speaker_pid)
        await asyncio.gather(asked, return_exceptions=True)
        await client.close()
        return seen

    assert set(asyncio.run(ask())) == {os.getpid(), None}
