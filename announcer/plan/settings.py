"""How long things may take: the only knobs of a plan."""

from __future__ import annotations

import msgspec


class PlanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds.

    ``drain``: between the withdrawal having been sent and the entries going, for the routers to act on it.
    ``shed``: between a route having been marked for a graceful shutdown and its withdrawal, for the routers to find
    another way. ``quiet``: for how long no packet may have come before the entries of a drained node go, and
    ``quiet_limit``: how long that is waited for; a client on the segment itself may never stop.
    ``proof_interval``: how old a good proof may get before it is made anew. ``proof_grace``: how long a VIP that is
    announced may go unproven before it is withdrawn; it covers a next hop that is just being resolved.
    ``flap_hold``: how long a proof must hold after the second withdrawal for want of one, doubled with every further
    one up to ``flap_hold_max``. ``end_of_rib_hold``: how long End-of-RIB waits for a VIP that cannot be proven.
    ``renewals``: how many good proofs are made anew in one round, oldest first; with very many VIPs proofs get older
    rather than events waiting.
    """

    drain: float = 2.0
    shed: float = 2.0
    quiet: float = 1.0
    quiet_limit: float = 30.0
    proof_interval: float = 0.5
    proof_grace: float = 0.3
    flap_hold: float = 1.0
    flap_hold_max: float = 60.0
    end_of_rib_hold: float = 5.0
    renewals: int = 16
