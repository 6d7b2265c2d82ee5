"""The last good configuration, kept across restarts.

An agent that starts while the bgp-config is broken must go on with what was in force, or a typing error and a restart
together would take every route of the node back.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from announcer.config.types import Config
from announcer.model.codec import from_json, to_json
from announcer.snapshot import ConfigState, ConfigView

_FILE_NAME = "last-good-config.json"


class LastGood:
    """Keeps the configuration in a file of the state folder, mode 0600."""

    def __init__(self, state_dir: Path) -> None:
        """The folder must exist."""
        self._path = state_dir / _FILE_NAME
        self._kept: Config | None = None

    def load(self) -> ConfigView:
        """The kept configuration, as one that counts until a source delivers a newer one; nothing if there is none."""
        try:
            self._kept = from_json(self._path.read_bytes(), Config)
        except (OSError, msgspec.MsgspecError, ValueError):
            return ConfigView()
        return ConfigView(state=ConfigState.MISSING, config=self._kept)

    def keep(self, view: ConfigView) -> None:
        """Write it down if it is new and good. Written beside and renamed, so that a crash leaves the old one."""
        if view.state is not ConfigState.APPLIED or view.config is None or view.config == self._kept:
            return
        beside = self._path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(to_json(view.config))
        beside.replace(self._path)
        self._kept = view.config
