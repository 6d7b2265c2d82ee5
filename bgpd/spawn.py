"""Starts a speaker that outlives its starter, if none answers yet: for a standalone ``lockstep run``.

One that is there and stands still is woken, if it was stopped, and ended if it does not come round: it keeps sessions
up and cannot withdraw anything. In a cluster the kubelet does that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from announcer.model.errors import TargetError
from bgpd.client import SpeakerClient
from bgpd.liveness import read_process
from bgpd.paths import python_path
from bgpd.settings import SpeakerSettings

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
#: Its end closes every session, so it gets longer than any pause of a machine that still works.
PATIENCE_SECONDS = 30.0


def begin_speaker(state_dir: Path) -> None:
    """Start a speaker of ``state_dir`` unless there is one, and do not wait for it.

    Raises TargetError if it cannot be started.
    """
    settings = _settings(state_dir)
    with socket.socket(socket.AF_UNIX) as knock:
        knock.setblocking(False)
        try:
            knock.connect(str(settings.socket))
        except BlockingIOError:
            return  # so many wait for it that there is no room for one more: it is there
        except OSError:
            _start(settings)


async def ensure_speaker(
    state_dir: Path, *, begun: bool = False, deadline: float = 10.0, patience: float = PATIENCE_SECONDS
) -> int:
    """The process id of the speaker of ``state_dir``, started if none answers.

    It runs in its own session with ``/`` as its folder, and logs to ``<state_dir>/speaker.log``. Two starters at once
    are harmless: a lock in the folder lets one speaker run. One that holds the socket and gives no sign of life for
    ``patience`` seconds is killed first. ``begun``: :func:`begin_speaker` was called just now, so that one is waited
    for before another is started. Raises TargetError if none answers within ``deadline`` seconds of the start.
    """
    settings = _settings(state_dir)
    client = SpeakerClient(settings.socket)
    try:
        if (pid := await _answering(client)) is not None:
            return pid
        if client.silent and (pid := await _rouse(client, patience)) is not None:
            return pid
        if begun and (pid := await _answering_within(client, deadline)) is not None:
            return pid
        _start(settings)
        if (pid := await _answering_within(client, deadline)) is not None:
            return pid
        raise TargetError("start the speaker", detail=f"it does not answer; see {state_dir / 'speaker.log'}")
    finally:
        await client.close()


def _settings(state_dir: Path) -> SpeakerSettings:
    if not state_dir.is_absolute():
        raise ValueError(f"the state folder {state_dir} is not an absolute path")
    return SpeakerSettings(state_dir=state_dir, log_file=state_dir / "speaker.log")


async def _answering_within(client: SpeakerClient, seconds: float) -> int | None:
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        if (pid := await _answering(client)) is not None:
            return pid
        await asyncio.sleep(_POLL_SECONDS)
    return None


async def _answering(client: SpeakerClient) -> int | None:
    try:
        return await client.hello()
    except (ConnectionError, TimeoutError):
        return None


async def _rouse(client: SpeakerClient, patience: float) -> int | None:
    """Bring a speaker round that stands still, or end it. Its process id if it answers, None if there is none now.

    Raises TargetError if it is out of our reach.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while client.silent:
        if (pid := client.speaker_pid) is None:
            raise TargetError("ask the speaker", detail="it gives no sign of life, and is in another PID namespace")
        found = read_process(pid)
        if found is not None and found.state == "T":
            log.warning("the speaker (process %d) was stopped by somebody; it is told to go on", pid)
            os.kill(pid, signal.SIGCONT)
        elif loop.time() > end:
            log.error("the speaker (process %d) gave no sign of life for %.0f s and is ended", pid, patience)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            end = loop.time() + patience
        await asyncio.sleep(_POLL_SECONDS)
    return await _answering(client)


def _start(settings: SpeakerSettings) -> None:
    """Start it as nobody's child: ``setsid --fork`` returns at once, so that the starter has nothing to wait for."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(settings.state_dir / "speaker.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        subprocess.run(
            ["setsid", "--fork", sys.executable, "-m", "bgpd", "--state-dir", str(settings.state_dir)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=True,
            env=os.environ | {"PYTHONPATH": python_path(os.environ)},
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        raise TargetError("start the speaker", detail=str(error)) from error
    finally:
        os.close(log)
