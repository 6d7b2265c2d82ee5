"""Where processes that this package starts find it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def python_path(environment: Mapping[str, str]) -> str:
    """``PYTHONPATH`` for a process that imports this package, in whatever folder it runs; the present one goes last."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(part for part in (root, environment.get("PYTHONPATH", "")) if part)
