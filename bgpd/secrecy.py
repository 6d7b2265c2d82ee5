"""Passwords go into the speaker and ExaBGP's configuration (mode 0600), and nowhere else: no answer repeats them.

The agent has to know whether the speaker runs what it wants, so it compares neighbors with their passwords. It needs no
answer for that: while its connection lasts nobody else can configure the speaker, so what it configured itself is what
runs. An agent that has just connected sees passwords hidden, finds a difference, and configures once more, which
changes nothing if they are the same.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterable
from pathlib import Path

import msgspec

from announcer.model.bgp import Neighbor, Password, PeerObserved
from announcer.model.observed import Outcome
from announcer.model.steps import ConfigureNeighbors

_PR_SET_DUMPABLE = 4

#: No password that can be configured: those have at least one character.
HIDDEN = Password("")


def hide(neighbor: Neighbor) -> Neighbor:
    """``neighbor`` without its password, but still with one."""
    return neighbor if neighbor.password is None else msgspec.structs.replace(neighbor, password=HIDDEN)


def hide_in_peer(peer: PeerObserved) -> PeerObserved:
    """What the speaker may say of a peer."""
    return peer if peer.neighbor.password is None else msgspec.structs.replace(peer, neighbor=hide(peer.neighbor))


def hide_in_outcomes(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """What the speaker may say of the steps it was given."""
    return [_hide_in_outcome(outcome) for outcome in outcomes]


def _hide_in_outcome(outcome: Outcome) -> Outcome:
    step = outcome.step
    if not isinstance(step, ConfigureNeighbors):
        return outcome
    hidden = msgspec.structs.replace(step, neighbors=tuple(map(hide, step.neighbors)))
    return msgspec.structs.replace(outcome, step=hidden)


def restore(peer: PeerObserved, configured: Neighbor | None) -> PeerObserved:
    """``peer`` with the password of the neighbor as ``configured``, if that is the same in everything else."""
    if configured is None or configured == peer.neighbor or hide(configured) != peer.neighbor:
        return peer
    return msgspec.structs.replace(peer, neighbor=configured)


def leave_no_core() -> None:
    """Have this process leave no core dump, whatever the system does with one (core(5)).

    No other process of its user may read its memory either (prctl(2), PR_SET_DUMPABLE). That ends at exec, and ExaBGP
    must do without, because the speaker looks up its sockets in ``/proc``. What is inherited is enough for it: no core
    file, and nothing of its memory in a core that the system gives to a program. Raises OSError if the kernel cannot.
    """
    # In this order: without the mark, /proc/self is root's.
    Path("/proc/self/coredump_filter").write_text("0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), "prctl(PR_SET_DUMPABLE)")
