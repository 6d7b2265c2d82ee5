"""The folder on a BPF file system where maps, programs and links stand while no agent runs, and the lock on it.

::

    <bpffs>/maps/lb_frontends ...     by name
    <bpffs>/progs/lb_ingress ...      by name
    <bpffs>/links/xdp-<ifindex>       dots are not allowed in such names, device names may have them
    <bpffs>/links/tcx-<ifindex>
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from announcer.model.errors import TargetError
from datapath import shim


class Folder:
    """A locked folder. Another agent on the same folder is refused: two would undo each other's work."""

    def __init__(self, root: Path) -> None:
        """Make, mount and lock it. Raises ``TargetError``: not permitted, or another agent holds it (``retry``)."""
        self.root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not shim.is_bpffs(root):
                shim.mount_bpffs(root)
            # The folder itself is locked: a bpffs holds no ordinary files, and a lock elsewhere could be missed.
            self._lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TargetError(f"prepare {root}", errno=error.errno or 0, retry=False) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise TargetError(
                f"lock {root}", errno=error.errno or 0, detail="another agent uses this folder"
            ) from error
        for each in (self.maps, self.progs, self.links):
            each.mkdir(mode=0o700, exist_ok=True)

    @property
    def maps(self) -> Path:
        """Pins of maps."""
        return self.root / "maps"

    @property
    def progs(self) -> Path:
        """Pins of programs."""
        return self.root / "progs"

    @property
    def links(self) -> Path:
        """Pins of links."""
        return self.root / "links"

    def restore(self) -> None:
        """Make the folder anew after someone took it away; what is still held open can be pinned again then."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not shim.is_bpffs(self.root):
                shim.mount_bpffs(self.root)
            for each in (self.maps, self.progs, self.links):
                each.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise TargetError(f"prepare {self.root}", errno=error.errno or 0) from error

    def remove(self) -> None:
        """Remove every pin. Links first: a program must not run on without what it needs."""
        for folder in (self.links, self.progs, self.maps):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                unpin(path)
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()

    def close(self) -> None:
        """Let go of the lock; pins stay."""
        os.close(self._lock)


def unpin(path: Path) -> None:
    """Remove a pin; one that is not there is no error. Raises ``TargetError``."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise TargetError(f"unlink {path}", errno=error.errno or 0) from error


def pin_over(fd: int, path: Path) -> None:
    """Pin in place of what may be pinned there now, in one step. Raises ``TargetError``."""
    staged = path.with_name(path.name + "-new")
    unpin(staged)
    shim.pin(fd, staged)
    try:
        staged.rename(path)
    except OSError as error:
        raise TargetError(f"rename {staged}", errno=error.errno or 0) from error


class Pins:
    """Whether what was pinned is pinned still, asked at every look.

    What is pinned at a place of the file system (device and inode) never changes: the kernel is asked for it once.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int, int]] = {}

    def holds(self, path: str, kind: str, number: int) -> bool:
        """Is the map, program or link with this id pinned there?"""
        try:
            found = os.stat(path)
        except OSError:
            return False
        known = (found.st_dev, found.st_ino, number)
        if self._known.get(path) != known:
            if pinned_id(Path(path), kind) != number:
                return False
            self._known[path] = known
        return True


def pinned_id(path: Path, kind: str) -> int:
    """The kernel's id of the map, program or link pinned there, 0 if there is none."""
    fd = shim.get(path)
    if fd is None:
        return 0
    try:
        if kind == "map":
            return shim.map_info(fd).id
        return shim.prog_info(fd).id if kind == "prog" else shim.link_info(fd).id
    finally:
        os.close(fd)
