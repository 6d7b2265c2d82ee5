"""What is put right inside the ExaBGP process before it starts. Version 5.0 only, which is what we depend on.

No setting of ExaBGP reaches either of them. Tests hold each to the wire, with a control that shows the fault without
it (``tests/bgpd/test_faults.py``, ``test_forwarding_bits.py``).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


def run_on_monotonic_time() -> None:
    """Make ``time.time()`` immune to steps of the clock, in this process. Call it before ExaBGP is imported.

    ExaBGP measures hold and KEEPALIVE timers with it. A clock that is set forward by more than the hold time ends every
    session at once (NOTIFICATION 4/0); set back, it stops the KEEPALIVEs until the peers end them. It still begins with
    the time of day, so that dates mean something.
    """
    monotonic = time.monotonic
    offset = time.time() - monotonic()
    time.time = lambda: monotonic() + offset


def claim_only_what_is_kept(mark: Path) -> None:
    """Have the OPEN claim a restart and preserved forwarding (RFC 4724 section 3) only while ``mark`` exists.

    ExaBGP sets the Forwarding State bit of every family always, and the Restart State bit in the first OPEN after it
    started. Without either a helper drops at once what it kept, and the capability still protects the next restart.
    """
    from exabgp.bgp.message.open.capability.capabilities import Capabilities
    from exabgp.bgp.message.open.capability.capability import Capability

    original = Capabilities._graceful

    def graceful(self: Any, neighbor: Any, restarted: bool) -> None:
        kept = mark.exists()
        original(self, neighbor, restarted and kept)
        offered = self.get(Capability.CODE.GRACEFUL_RESTART)
        if offered is not None and not kept:
            offered.update(dict.fromkeys(offered, 0))

    Capabilities._graceful = graceful
