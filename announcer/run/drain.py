"""The operator's word that this node is to be taken out of service: a file in the state folder.

A file and no message, because the wish has to outlive the agent: one that is killed in the middle of a drain and comes
back must go on with it, not announce everything again. And the wish can be noted while no agent runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE_NAME = "drain"
SCHEMA = "lockstep.drain/v1"
#: How a drain for this file's sake is named wherever it is told why a node leaves.
OPERATOR = "lockstep drain"


class DrainFile:
    """The file of one state folder. Existing is what counts; what stands in it is for people."""

    def __init__(self, state_dir: Path) -> None:
        """The folder need not exist."""
        self._path = state_dir / _FILE_NAME

    @property
    def wanted(self) -> bool:
        """True while the node is to be drained."""
        return self._path.exists()

    def set(self, since: str) -> None:
        """Note the wish; an older note stays as it is. Raises ``OSError``."""
        if not self.wanted:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = self._path.with_suffix(".new")
            beside.write_text(json.dumps({"schema": SCHEMA, "since": since}) + "\n")
            beside.replace(self._path)

    def clear(self) -> None:
        """Forget the wish; harmless if there is none. Raises ``OSError``."""
        self._path.unlink(missing_ok=True)

    def since(self) -> str | None:
        """When it was noted; None if there is no readable note."""
        try:
            note: Any = json.loads(self._path.read_text())
            return str(note["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
