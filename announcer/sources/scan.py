"""Looking at a folder: which directories and files there are, and reading those files that changed."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TypeAlias

import msgspec

from announcer.sources.fold import MAX_FILE_BYTES, Unreadable

SUFFIXES = (".yaml", ".yml", ".json")

#: Device, inode, size, and the times of the last change: what tells one content of a file from another.
Stamp: TypeAlias = tuple[int, ...]

#: Two writes within one tick of the file system's clock leave the same stamp, so a file that is younger than this when
#: it is read is read again.
_TICK_NS = 50_000_000


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A folder at one moment: its directories with device and inode, its files with their stamps (None: no stamp).

    ``problem``: why the folder could not be read, else empty.
    """

    directories: dict[Path, tuple[int, int]] = {}
    files: dict[str, Stamp | None] = {}
    problem: str = ""


def is_manifest(name: str) -> bool:
    """True if a file of this name is read."""
    return name.lower().endswith(SUFFIXES) and not _hidden(name)


def list_folder(root: Path) -> Listing:
    """Everything below ``root`` whose name does not begin with a dot; symbolic links are followed, each target once.

    (A ConfigMap that is mounted as a volume keeps its contents in a hidden directory, and visible links point there.)
    """
    directories: dict[Path, tuple[int, int]] = {}
    files: dict[str, Stamp | None] = {}
    try:
        _walk(root, directories, files)
    except OSError as error:
        return Listing(problem=_reason(error))
    return Listing(directories=directories, files=dict(sorted(files.items())))


def read_content(path: Path) -> bytes | Unreadable:
    """The content of a regular file; never waits (a FIFO in the folder is refused)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return Unreadable("is not a regular file", "move it out of the folder")
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        hint = "the link points to nothing" if path.is_symlink() and not path.exists() else ""
        return Unreadable(f"cannot be read: {_reason(error)}", hint)


def settled(stamp: Stamp | None, now_ns: int) -> bool:
    """True if ``stamp`` is old enough at ``now_ns`` (Unix nanoseconds) that a later write would change it."""
    return stamp is not None and now_ns - max(stamp[-2:]) > _TICK_NS


def _walk(directory: Path, directories: dict[Path, tuple[int, int]], files: dict[str, Stamp | None]) -> None:
    status = os.stat(directory)
    identity = (status.st_dev, status.st_ino)
    if identity in directories.values():
        return
    with os.scandir(directory) as entries:
        directories[directory] = identity
        visible = sorted((entry for entry in entries if not _hidden(entry.name)), key=lambda entry: entry.name)
    for entry in visible:
        if entry.is_dir():
            # One that is removed at this moment leads to another look.
            with contextlib.suppress(FileNotFoundError):
                _walk(Path(entry.path), directories, files)
        elif is_manifest(entry.name):
            files[entry.path] = _stamp(entry)


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _stamp(entry: os.DirEntry[str]) -> Stamp | None:
    try:
        found = entry.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
