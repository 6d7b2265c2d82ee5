"""Follows a Containerfile without a container engine: every stage in a clean root of its own.

The product's Containerfile is read, not copied, so that what is tested and what is built cannot drift apart. Only the
instructions that it uses are known; any other is an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

#: What a build inherits from the machine: where package indexes are and whom to trust.
_PASSED_ON = (
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_DEFAULT_INDEX",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)

_INSTRUCTION = re.compile(r"^(?P<word>[A-Z]+)\s+(?P<rest>.*)$")

_AUTHORITIES = "tmp/authorities.crt"


class Image(msgspec.Struct, kw_only=True):
    """A finished stage: its files, and how to start it. ``stages``: the roots of the ones before."""

    root: Path
    environment: dict[str, str]
    user: str
    entrypoint: list[str]
    stages: dict[str, Path]


class BuildError(Exception):
    """An instruction failed or is not known."""


def build(containerfile: Path, folder: Path, cache: Path, arguments: dict[str, str]) -> Image:
    """Follow all stages, in ``folder`` (on the file system of ``cache``); the last one is the result.

    A minimal Debian stands in for every image that is not a stage. What a stage is after its first RUN, which installs
    Debian packages, is kept in ``cache``, as an engine keeps its layers.
    """
    stages: dict[str, _Stage] = {}
    stage: _Stage | None = None
    for word, rest in _instructions(containerfile):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or f"stage{len(stages)}"
            stage = stages[name] = _Stage(folder / name, containerfile.parent, cache, arguments)
        elif stage is not None:
            stage.follow(word, rest, stages)
        elif word != "ARG":
            raise BuildError(f"{word} before FROM")
    assert stage is not None
    return Image(
        root=stage.root,
        environment=stage.environment,
        user=stage.user,
        entrypoint=stage.entrypoint,
        stages={name: item.root for name, item in stages.items()},
    )


class _Stage:
    def __init__(self, root: Path, context: Path, cache: Path, given: dict[str, str]) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.user = "0:0"
        self.entrypoint: list[str] = []
        self._context = context
        self._cache = cache
        self._given = given
        self._known: dict[str, str] = {}
        # What comes before the first RUN is done when that one is, and only if it is not in the cache.
        self._first: list[Callable[[Path], None]] = []
        self._key = hashlib.sha256()

    def follow(self, word: str, rest: str, stages: dict[str, _Stage]) -> None:
        match word:
            case "ARG":
                name, _, default = rest.partition("=")
                self._known[name] = self._given.get(name, default)
            case "ENV":
                self.environment |= dict(part.split("=", 1) for part in shlex.split(rest))
            case "USER":
                self.user = rest
            case "ENTRYPOINT":
                self.entrypoint = msgspec.json.decode(rest, type=list[str])
            case "COPY":
                self._copy(rest, stages)
            case "RUN":
                self._run(re.sub(r"\$\{(\w+)\}", lambda found: self._known[found[1]], rest))
            case _:
                raise BuildError(f"{word} is not known here")

    def _run(self, command: str) -> None:
        if self.root.exists():
            run_in(self.root, command, self.environment)
            return
        self._key.update(command.encode())
        layer = self._cache / f"image-{self._key.hexdigest()[:16]}"
        if not layer.exists():
            with _beside(layer) as new:
                _must(["cp", "-a", str(clean_root(self._cache)), str(new)])
                for copy in self._first:
                    copy(new)
                run_in(new, command, self.environment)
        # Links instead of copies: nothing that follows changes a file of the layer in place.
        self.root.parent.mkdir(parents=True, exist_ok=True)
        _must(["cp", "-al", str(layer), str(self.root)])

    def _copy(self, rest: str, stages: dict[str, _Stage]) -> None:
        *sources, target = shlex.split(rest)
        context = self._context
        if sources[0].startswith("--from="):
            context = stages[sources.pop(0).removeprefix("--from=")].root
        for source in sources:
            origin = context / source.lstrip("/")
            inside = target.lstrip("/") + (f"/{origin.name}" if origin.is_file() else "")
            # From another stage everything is taken; .containerignore is about the checkout.
            copy = partial(_copy_into, origin, inside, everything=context != self._context)
            if self.root.exists():
                copy(self.root)
            else:
                self._key.update(inside.encode() + _digest(origin))
                self._first.append(copy)


def clean_root(cache: Path) -> Path:
    """A minimal Debian, from packages alone; made once."""
    root = cache / "image-bookworm"
    if not root.exists():
        with _beside(root) as new:
            argv = ["mmdebstrap", "--variant=minbase", "--quiet", '--aptopt=Acquire::Check-Valid-Until "false"']
            _must([*argv, "bookworm", str(new)])
    return root


def run_in(root: Path, command: str, environment: dict[str, str]) -> None:
    """Run a shell command in ``root`` as the machine's root, with its network. Raises :class:`BuildError`."""
    (root / "etc" / "resolv.conf").unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if Path(passed.get("PIP_CERT", "")).is_file():
        shutil.copy(passed["PIP_CERT"], root / _AUTHORITIES)
        passed["PIP_CERT"] = f"/{_AUTHORITIES}"
    # A mount namespace of its own: what is mounted for the command is gone with it.
    script = 'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/sh -c "$2"'
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment, **passed}
    _must(["unshare", "--mount", "--pid", "--fork", "--", "sh", "-c", script, "sh", str(root), command], variables)
    (root / _AUTHORITIES).unlink(missing_ok=True)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name beside ``path`` that becomes ``path`` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=path.parent))
    try:
        yield folder / "new"
        if not path.exists():
            (folder / "new").rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


#: What .containerignore names.
_IGNORED = ("__pycache__", "build")


def _copy_into(origin: Path, inside: str, root: Path, *, everything: bool) -> None:
    target = root / inside
    if origin.is_dir():
        ignore = None if everything else shutil.ignore_patterns(*_IGNORED)
        shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(origin, target)


def _digest(path: Path) -> bytes:
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and not set(_IGNORED) & set(file.relative_to(path).parts):
            whole.update(str(file.relative_to(path)).encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.digest()


def _instructions(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            found = _INSTRUCTION.match(line)
            if found is None:
                raise BuildError(f"not an instruction: {line}")
            yield found["word"], found["rest"].strip()


def _must(argv: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False, env=environment)
    if done.returncode != 0:
        text = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        raise BuildError(f"{shlex.join(argv)}: exit code {done.returncode}\n{text}")
