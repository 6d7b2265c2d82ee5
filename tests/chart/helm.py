"""helm as the tests use it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.kube.api import Manifest
from tests.kube.binaries import binary

CHART = Path(__file__).resolve().parents[2] / "helm" / "lockstep"
PRESETS = {path.stem: path for path in sorted((CHART / "presets").glob("*.yaml"))}

RELEASE = "lockstep"
NAMESPACE = "lockstep-system"

Values = dict[str, Any]


class HelmError(Exception):
    """helm said no."""


def run(*arguments: str | Path) -> str:
    """helm's standard output. Raises :class:`HelmError` with the other one."""
    done = subprocess.run([binary("helm"), *arguments], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise HelmError(done.stderr)
    return done.stdout


def template(*, preset: str = "", values: Values | None = None) -> list[Manifest]:
    """Every object of the release."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values or {}, file)
        file.flush()
        chosen: list[str | Path] = ["--values", PRESETS[preset]] if preset else []
        # The helm that the tests build does not know its own version of Kubernetes.
        options: list[str | Path] = [
            f"--namespace={NAMESPACE}",
            "--kube-version=1.36.0",
            *chosen,
            "--values",
            file.name,
        ]
        text = run("template", RELEASE, CHART, *options)
    return [item for item in yaml.safe_load_all(text) if item]


def find(objects: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The one object of this kind, and of this name if one is given."""
    (found,) = [item for item in objects if item["kind"] == kind and name in ("", item["metadata"]["name"])]
    return found


def pods(objects: list[Manifest]) -> dict[str, Manifest]:
    """The pod specification of every component."""
    return {
        item["metadata"]["labels"]["app.kubernetes.io/component"]: item["spec"]["template"]["spec"]
        for item in objects
        if item["kind"] in ("DaemonSet", "Deployment")
    }
