"""Keeping what the processes of the announcer know to themselves."""

from __future__ import annotations

import logging

from bgpd.secrecy import leave_no_core

log = logging.getLogger(__name__)


def keep_memory_private() -> None:
    """Leave no core dump: the bgp-config may hold passwords. Goes on without where the kernel cannot."""
    try:
        leave_no_core()
    except OSError as error:
        log.warning("a core dump of this process would hold passwords: %s", error)
