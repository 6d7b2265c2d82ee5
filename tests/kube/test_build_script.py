"""``scripts/kube.sh`` is interrupted: what it leaves behind is never taken for a binary.

The Go of this test is a few lines of shell. It says that it is new enough, and writes what it is told to "build".
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "kube.sh"
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "helm")

GO = """\
#!/bin/bash
[[ $1 == env ]] && { echo go99.0; exit; }
while [[ $1 != -o ]]; do shift; done
echo "$2" >>"$BUILT"
printf '#!/bin/sh\\n' >"$2"
chmod +x "$2"
[[ $2 != *"$DIES_AT"* ]] || kill -KILL $$
echo 'echo whole' >>"$2"
"""


class Cache:
    """A cache of its own, a Go that dies in the middle of what ``dies_at`` names, and no binaries from elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.built = folder / "built"
        self.built.touch()
        tools = folder / "tools"
        tools.mkdir()
        (tools / "go").write_text(GO)
        (tools / "go").chmod(0o755)
        taken = {"KUBE_APISERVER", "KUBE_CONTROLLER_MANAGER", "ETCD", "HELM"}
        self._environment = {key: value for key, value in os.environ.items() if key not in taken} | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "BUILT": str(self.built),
        }

    def run(self, *arguments: str, dies_at: str = "nothing") -> subprocess.CompletedProcess[str]:
        """Run the script."""
        environment = self._environment | {"DIES_AT": dies_at}
        return subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)

    @property
    def folder(self) -> Path:
        """Where it puts binaries."""
        return Path(self.run("--path").stdout.strip())

    def whole(self, name: str) -> bool:
        """True if there is a binary, and it is one."""
        path = self.folder / name
        return path.exists() and subprocess.run([path], capture_output=True, text=True, check=True).stdout == "whole\n"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def test_what_was_built_is_not_built_again(cache: Cache) -> None:
    assert cache.run().returncode == 0
    assert all(cache.whole(name) for name in NAMES)
    before = cache.built.read_text()
    assert cache.run().returncode == 0
    assert cache.built.read_text() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_build_that_dies_leaves_nothing_that_is_trusted(cache: Cache, name: str) -> None:
    done = cache.run(dies_at=name)
    assert done.returncode != 0
    assert f"cannot build {name}" in done.stderr
    assert not (cache.folder / name).exists()
    earlier = NAMES[: NAMES.index(name)]
    assert all(cache.whole(one) for one in earlier), "what was complete before is kept"
    cache.built.write_text("")
    assert cache.run().returncode == 0
    assert all(cache.whole(one) for one in NAMES)
    assert not any(f"/{one}.new" in cache.built.read_text() for one in earlier)
