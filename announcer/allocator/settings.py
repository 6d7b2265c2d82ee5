"""What ``lockstep allocate`` was told."""

from __future__ import annotations

from pathlib import Path

import msgspec

from announcer.allocator.election import Terms
from announcer.model.objects import ObjectKey


class AllocatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One allocator.

    ``identity`` must be another one for every process that ever runs. ``listen``: addresses of /healthz, /readyz and
    /metrics. ``config_grace``: an address that a new configuration no longer allows is taken away only when that
    configuration has been in force for so many seconds, for a mistyped pool must not cost every Service its address.
    """

    identity: str
    lease: ObjectKey
    config_map: ObjectKey
    kubeconfig: Path | None = None
    listen: tuple[str, ...] = ()
    metrics_aliases: bool = False
    terms: Terms = Terms()
    config_grace: float = 60.0
