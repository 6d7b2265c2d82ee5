"""Where the binaries are that ``scripts/kube.sh`` built, or that the environment names."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "kube.sh"

_VARIABLES = {
    "etcd": "ETCD",
    "kube-apiserver": "KUBE_APISERVER",
    "kube-controller-manager": "KUBE_CONTROLLER_MANAGER",
    "helm": "HELM",
}


class MissingBinaryError(Exception):
    """A binary was never built. Not a reason to skip: what was not run was not tested."""


def binary(name: str) -> Path:
    """The path of ``etcd``, ``kube-apiserver``, ``kube-controller-manager`` or ``helm``."""
    named = os.environ.get(_VARIABLES[name])
    path = Path(named) if named else _folder() / name
    if not os.access(path, os.X_OK):
        raise MissingBinaryError(f"there is no {path}; build it: make kube (or name one in {_VARIABLES[name]})")
    return path


@cache
def _folder() -> Path:
    done = subprocess.run([_SCRIPT, "--path"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
