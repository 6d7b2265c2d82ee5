"""What a lab has made, found by its name, and the way to remove it.

Used by the owner of a lab when it ends, and by the reaper when the owner was killed, so it depends on nothing but the
lab's id: network namespaces are called ``lk-ID-*``, everything else lives in one run folder. Standard library only, and
imports nothing of ours: the reaper runs this file by its path.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

RUN_FOLDER = Path("/run/lockstep-lab")
NETNS_FOLDER = Path("/run/netns")
KILL_SECONDS = 5.0


class Registry:
    """The things of the lab ``lab_id``."""

    def __init__(self, lab_id: str) -> None:
        """Name the lab; nothing is made or read. Raise ValueError for what no lab is called: all of it gets removed."""
        if not re.fullmatch("[0-9a-f]{6}", lab_id):
            raise ValueError(f"{lab_id!r} is not the id of a lab")
        self.lab_id = lab_id
        self.folder = RUN_FOLDER / lab_id

    def netns(self, host: str) -> str:
        """Return the name of the network namespace of ``host``."""
        return f"lk-{self.lab_id}-{host}"

    def remove(self) -> None:
        """Kill and remove all that is left of the lab. Calling it again, or for a lab that is half made, is fine."""
        deadline = time.monotonic() + KILL_SECONDS
        while (alive := set(self._alive())) and time.monotonic() < deadline:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for mount in self._mounts():
            subprocess.run(["umount", "--lazy", mount], check=False, stderr=subprocess.DEVNULL)
        deletions = "".join(f"netns del {path.name}\n" for path in self._namespaces())
        subprocess.run(
            ["ip", "-force", "-batch", "-"], input=deletions, text=True, check=False, stderr=subprocess.DEVNULL
        )
        shutil.rmtree(self.folder, ignore_errors=True)

    def leftovers(self) -> list[str]:
        """Return what exists of the lab: processes, mounts, namespaces, the run folder."""
        found = [f"process {pid}" for pid in self._alive()] + [f"mount {mount}" for mount in self._mounts()]
        found += [f"netns {path.name}" for path in self._namespaces()]
        return found + ([str(self.folder)] if self.folder.exists() else [])

    def _namespaces(self) -> list[Path]:
        return sorted(NETNS_FOLDER.glob(f"lk-{self.lab_id}-*"))

    def _mounts(self) -> list[str]:
        """Return the mount points in the run folder, the innermost first."""
        points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        return sorted((point for point in points if point.startswith(f"{self.folder}/")), reverse=True)

    def _alive(self) -> Iterator[int]:
        """Yield all processes that live in the lab's namespaces, whoever started them: a daemon leaves its parent."""
        namespaces = set(map(_identity, self._namespaces())) - {None}
        for entry in os.scandir("/proc"):
            other = entry.name.isdigit() and int(entry.name) != os.getpid()
            if other and _identity(Path(entry.path, "ns", "net")) in namespaces:
                yield int(entry.name)


def _identity(namespace: Path) -> tuple[int, int] | None:
    """Return what tells a namespace from all others, or None when it is gone (as that of a zombie is)."""
    try:
        found = namespace.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
