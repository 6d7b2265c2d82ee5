"""Whether ExaBGP would take a configuration: asked of a process that runs no session, before one that does sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import sys
from pathlib import Path

from announcer.model.errors import TargetError
from bgpd.child import LINE
from bgpd.paths import python_path
from bgpd.render import environment

_VALIDATE_SECONDS = 30.0


def engine_environment() -> dict[str, str]:
    """Of every ExaBGP process."""
    found = environment(os.environ, user=pwd.getpwuid(os.getuid()).pw_name)
    found["PYTHONPATH"] = python_path(found)
    return found


async def validate(configuration: Path, prepared: asyncio.subprocess.Process | None = None) -> None:
    """Have a separate ExaBGP read ``configuration``: a copy of one that is ``prepared``, or one that is started for it.

    Raises TargetError with the line, not the text, if it refuses.
    """
    answer = await _asked(prepared, configuration) if prepared is not None else None
    status, line = answer or await _of_its_own(configuration)
    if status != 0:
        where = f" at line {line}" if line else ""
        raise TargetError("exabgp validate", detail=f"the configuration is refused{where}", retry=False)


async def _asked(prepared: asyncio.subprocess.Process, configuration: Path) -> tuple[int, int] | None:
    """Status and line. None if it does not say; then it is good for nothing else either, and is ended."""
    if prepared.stdin is None or prepared.stdout is None:
        return None
    with contextlib.suppress(TimeoutError, ValueError, ConnectionError):
        async with asyncio.timeout(_VALIDATE_SECONDS):
            prepared.stdin.write(b"validate %s\n" % bytes(configuration))
            status, line = (await prepared.stdout.readline()).split()
            return int(status), int(line)
    with contextlib.suppress(ProcessLookupError):
        prepared.kill()
    await prepared.wait()
    return None


async def _of_its_own(configuration: Path) -> tuple[int, int]:
    """Status and line. Raises TargetError if it takes too long."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "exabgp", "validate", str(configuration),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=engine_environment(), cwd="/",
    )  # fmt: skip
    try:
        async with asyncio.timeout(_VALIDATE_SECONDS):
            _, errors = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise TargetError("exabgp validate", detail=f"no answer in {_VALIDATE_SECONDS:.0f} s") from None
    line = LINE.search(errors.decode("utf-8", "replace"))
    return process.returncode or 0, int(line[1]) if line else 0
