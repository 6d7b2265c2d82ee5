"""Where a speaker lives and how patient it is. Every path follows from the state folder."""

from __future__ import annotations

from pathlib import Path

import msgspec


class SpeakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All durations in seconds.

    ``exit_deadline``: how long a planned exit waits for its withdrawals to be received. ``exit_settle``: how long it
    then keeps the sessions, for the routers to act: a withdrawal that was received is not yet out of their FIB, and
    the process that serves the routes may end as soon as this one has. ``silence``: how long ExaBGP may owe an answer
    before it is replaced though it could run (``bgpd.liveness``); ``stall``: the same whatever keeps it; below the hold
    time of most sessions, because an ExaBGP that does not read commands does not send KEEPALIVEs either.
    ``reload_deadline``: how long ExaBGP may take to say that it took a new configuration. ``log_file``: where to log
    with rotation; None is standard error.
    """

    state_dir: Path
    exit_deadline: float = 5.0
    exit_settle: float = 1.0
    silence: float = 3.0
    stall: float = 10.0
    reload_deadline: float = 10.0
    log_file: Path | None = None

    @property
    def socket(self) -> Path:
        """Where the agent asks."""
        return self.state_dir / "speaker.sock"

    @property
    def relay_socket(self) -> Path:
        """Where ExaBGP's helper connects."""
        return self.state_dir / "relay.sock"

    @property
    def configuration(self) -> Path:
        """ExaBGP's configuration."""
        return self.state_dir / "exabgp.conf"

    @property
    def forwarding_mark(self) -> Path:
        """Exists while the next OPEN may claim that forwarding was kept (``bgpd.overlay``)."""
        return self.state_dir / "forwarding-kept"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one speaker of this folder."""
        return self.state_dir / "speaker.lock"
