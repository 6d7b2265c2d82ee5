"""Passwords go into the speaker and ExaBGP's configuration (mode 0600), and nowhere else: no answer repeats them.

The agent has to know whether the speaker runs what it wants, so it compares neighbors with their passwords. It needs no
answer for that: while its connection lasts nobody else can configure the speaker, so what it configured itself is what
runs. An agent that has just connected sees passwords hidden, finds a difference, and configures once more, which
changes nothing if they are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from announcer.model.bgp import Neighbor, Password
from announcer.model.observed import BgpObserved, Outcome
from announcer.model.steps import ConfigureNeighbors

#: No password that can be configured: those have at least one character.
HIDDEN = Password("")


def hide(neighbor: Neighbor) -> Neighbor:
    """``neighbor`` without its password, but still with one."""
    return neighbor if neighbor.password is None else msgspec.structs.replace(neighbor, password=HIDDEN)


def hide_in_observed(observed: BgpObserved) -> BgpObserved:
    """What the speaker may say of its peers."""
    peers = {
        name: peer if peer.neighbor.password is None else msgspec.structs.replace(peer, neighbor=hide(peer.neighbor))
        for name, peer in observed.peers.items()
    }
    return msgspec.structs.replace(observed, peers=peers)


def hide_in_outcomes(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """What the speaker may say of the steps it was given."""
    return [_hide_in_outcome(outcome) for outcome in outcomes]


def _hide_in_outcome(outcome: Outcome) -> Outcome:
    step = outcome.step
    if not isinstance(step, ConfigureNeighbors):
        return outcome
    hidden = msgspec.structs.replace(step, neighbors=tuple(map(hide, step.neighbors)))
    return msgspec.structs.replace(outcome, step=hidden)


def restore(observed: BgpObserved, configured: Mapping[str, Neighbor]) -> BgpObserved:
    """``observed`` with the passwords of ``configured``, for neighbors that are the same in everything else."""
    peers = dict(observed.peers)
    for name, peer in observed.peers.items():
        known = configured.get(name)
        if known is not None and known != peer.neighbor and hide(known) == peer.neighbor:
            peers[name] = msgspec.structs.replace(peer, neighbor=known)
    return msgspec.structs.replace(observed, peers=peers)


def dump_no_memory() -> None:
    """Have the kernel leave all memory out of a core dump of this process and of those it starts (core(5)).

    Raises OSError if the kernel cannot.
    """
    Path("/proc/self/coredump_filter").write_text("0")
