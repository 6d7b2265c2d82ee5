"""The layouts and reasons of ``bpf/lb_abi.h`` in Python.

Written by hand so that it can be read and type-checked; :func:`check` compares it with what the C compiler made of the
header when the shim is opened, so the two cannot drift apart unseen.
"""

from __future__ import annotations

import struct
from enum import IntFlag, StrEnum

from announcer.model.errors import BugError


class Verdict(StrEnum):
    """What an XDP program can have done with a packet. The order is that of ``enum xdp_action``."""

    ABORTED = "aborted"
    DROP = "drop"
    PASS = "pass"
    TX = "tx"
    REDIRECT = "redirect"


class PacketReason(StrEnum):
    """Why a packet ended as it did: names of the counters, in the order of ``LB_REASONS``."""

    NOT_OURS = "not_ours"
    LOCAL = "local"
    DECAPSULATED = "decapsulated"
    REMOTE_TX = "remote_tx"
    REMOTE_REDIRECT = "remote_redirect"
    NO_SERVICE = "no_service"
    UNASSIGNED = "unassigned"
    NO_BACKEND = "no_backend"
    NOT_TCP_UDP = "not_tcp_udp"
    IP_OPTIONS = "ip_options"
    FRAGMENT = "fragment"
    TRUNCATED = "truncated"
    OTHER_HOST = "other_host"
    TTL = "ttl"
    TOO_BIG = "too_big"
    NO_ROUTE = "no_route"
    NO_NEIGHBOUR = "no_neighbour"
    FORWARDING_OFF = "forwarding_off"
    BAD_ROW = "bad_row"
    NO_HEADROOM = "no_headroom"
    NO_REPLY_ENTRY = "no_reply_entry"
    REPLY = "reply"
    REPLY_FRAGMENT = "reply_fragment"
    REPLY_ERROR = "reply_error"


class BackendFlag(IntFlag):
    """``flags`` of ``struct lb_backend``."""

    USED = 1
    LOCAL = 2


#: Addresses and ports are kept as the bytes of network order (``4s``, ``2s``), all else is in host order.
FRONTEND_KEY = struct.Struct("=4s2sBx")
ROW = struct.Struct("=II")
BACKEND = struct.Struct("=4s2sBx4s4x")
DECAP_KEY = struct.Struct("=4s4s2sBx")
DECAP = struct.Struct("=2s2x")
GUARD_KEY = struct.Struct("=I16s")
REPLY_KEY = struct.Struct("=4s4s2s2sB3x")
REPLY = struct.Struct("=4s2s2x")
PROBE = struct.Struct("=IIII")

PAGE_SLOTS = 1024
SLOT_BYTES = 4
PROBE_MAGIC = 0x4C6B5072
NO_ADDRESS = bytes(4)

_SIZES = {
    "lb_frontend_key": FRONTEND_KEY.size,
    "lb_row": ROW.size,
    "lb_row_page": PAGE_SLOTS * SLOT_BYTES,
    "lb_backend": BACKEND.size,
    "lb_decap_key": DECAP_KEY.size,
    "lb_decap": DECAP.size,
    "lb_guard_key": GUARD_KEY.size,
    "lb_reply_key": REPLY_KEY.size,
    "lb_reply": REPLY.size,
    "lb_probe": PROBE.size,
}

_OFFSETS = {
    "lb_frontend_key": (0, 4, 6),
    "lb_row": (0, 4),
    "lb_backend": (0, 4, 6, 8),
    "lb_decap_key": (0, 4, 8, 10),
    "lb_decap": (0,),
    "lb_guard_key": (0, 4),
    "lb_reply_key": (0, 4, 8, 10, 12),
    "lb_reply": (0, 4),
    "lb_probe": (0, 4, 8, 12),
}


def check(described: str) -> None:
    """Raise ``BugError`` unless ``described`` (see ``lk_abi`` in shim.c) says what this module says."""
    mine = [f"struct {name} {size}" for name, size in _SIZES.items()]
    mine += [f"offsets {name} {' '.join(map(str, offsets))}" for name, offsets in _OFFSETS.items()]
    mine += [f"reason {reason}" for reason in PacketReason]
    theirs = described.splitlines()
    if mine != theirs:
        differ = sorted(set(mine) ^ set(theirs)) or ["order"]
        raise BugError(f"datapath/abi.py and bpf/lb_abi.h disagree: {'; '.join(differ)}")
