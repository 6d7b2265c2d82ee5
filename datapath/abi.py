"""The layouts and reasons of ``bpf/lb_abi.h`` in Python.

Written by hand so that it can be read and type-checked; :func:`check` compares it with what the C compiler made of the
header when the shim is opened, so the two cannot drift apart unseen.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag, StrEnum

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
    GENEVE_STRAY = "geneve_stray"
    REMOTE_TX = "remote_tx"
    REMOTE_REDIRECT = "remote_redirect"
    GENEVE_TX = "geneve_tx"
    GENEVE_REDIRECT = "geneve_redirect"
    SNAT_TX = "snat_tx"
    SNAT_REDIRECT = "snat_redirect"
    SNAT_REPLY_TX = "snat_reply_tx"
    SNAT_REPLY_REDIRECT = "snat_reply_redirect"
    SNAT_REPLY_STACK = "snat_reply_stack"
    ECHO = "echo"
    MTU_ANSWER = "mtu_answer"
    REJECTED = "rejected"
    NO_SERVICE = "no_service"
    UNASSIGNED = "unassigned"
    SOURCE_NOT_ALLOWED = "source_not_allowed"
    NO_BACKEND = "no_backend"
    OTHER_PROTOCOL = "other_protocol"
    ICMP = "icmp"
    FRAGMENT = "fragment"
    EXTENSION = "extension"
    TRUNCATED = "truncated"
    OTHER_HOST = "other_host"
    GENEVE_DAMAGED = "geneve_damaged"
    TTL = "ttl"
    TOO_BIG = "too_big"
    NO_ROUTE = "no_route"
    NO_NEIGHBOUR = "no_neighbour"
    FORWARDING_OFF = "forwarding_off"
    BAD_ROW = "bad_row"
    NO_HEADROOM = "no_headroom"
    NO_REPLY_ENTRY = "no_reply_entry"
    NO_SNAT_PORT = "no_snat_port"
    NO_FRAGMENT_ENTRY = "no_fragment_entry"
    REPLY = "reply"
    REPLY_ERROR = "reply_error"


class BackendFlag(IntFlag):
    """``flags`` of ``struct lb_backend``."""

    USED = 1
    LOCAL = 2
    GENEVE = 4


class FrontendFlag(IntFlag):
    """``flags`` of ``struct lb_frontend``."""

    AFFINITY = 1
    SNAT = 2
    REJECT = 4
    RENDEZVOUS = 8
    GENEVE = 16
    HERE = 32
    NEAR = 64


class VipFlag(IntFlag):
    """``flags`` of ``struct lb_vip``."""

    SERVES = 1


class SnatState(IntFlag):
    """``state`` of ``struct lb_snat_flow`` and ``struct lb_snat_port``."""

    ANSWERED = 1
    ESTABLISHED = 2
    FIN = 4
    RST = 8


class Summed(IntEnum):
    """The maps that the program ``lb_sum`` adds up: ``LB_SUM_...``."""

    FRONTENDS = 0
    VIPS = 1
    DECAPS = 2


class SettingFlag(IntFlag):
    """``flags`` of ``struct lb_settings``."""

    ECHO = 1


#: Addresses and ports are kept as the bytes of network order (``16s``, ``2s``), all else is in host order.
#: Addresses are those of IPv6, IPv4 being mapped.
FRONTEND_KEY = struct.Struct("=16s2sBx")
FRONTEND = struct.Struct("=IHHBBBxII")
#: The part that user space writes; the next hop that the program keeps stands behind it.
BACKEND = struct.Struct("=16s16sI2sBx")
DECAP_KEY = struct.Struct("=16s16s2sBx")
DECAP = struct.Struct("=2s2x")
GUARD_KEY = struct.Struct("=I16s")
SOURCE_KEY = struct.Struct("=II16s")
SOURCE = struct.Struct("=I")
VIP = struct.Struct("=I")
FLOW_KEY = struct.Struct("=16s16s2s2sB3x")
FLOW = struct.Struct("=IIII")
REPLY_KEY = struct.Struct("=16s16s2s2sB3x")
REPLY = struct.Struct("=16s2sH4s")
SNAT_KEY = struct.Struct("=16s16s2s2sB3x")
SNAT_FLOW = struct.Struct("=40sIB3x")
SNAT_PORT = struct.Struct("=40sII4sB3x")
FRAGMENT_KEY = struct.Struct("=16s16s4sB3x")
FRAGMENT = struct.Struct("=2s2s")
VLAN_KEY = struct.Struct("=IHH")
VLAN = struct.Struct("=I")
VLAN_WAY = struct.Struct("=I4s4s")
SETTINGS = struct.Struct("=II")
PROBE = struct.Struct("=IIII")
SUM = struct.Struct("=QQ")

PAGE_BYTES = 4096
PAGE_WORDS = PAGE_BYTES // 4
#: Up to so many members a steady block holds preferences, for rows of so many slots (as a power of two).
RENDEZVOUS_MEMBERS, RENDEZVOUS_BITS = 16, 12
#: ``struct lb_ranks`` is an array of these.
RANK_BYTES = 2
#: ``struct lb_sieve``: where the range of SNAT ports, ``unstacked`` and the bits stand, how many there are as a power
#: of two, and the factors of its hash.
SNAT_RANGE = struct.Struct("=HH")
SNAT_RANGE_AT, UNSTACKED_AT, SIEVE_AT, SIEVE_BITS = 8, 12, 64, 18
SIEVE_FACTOR, SIEVE_FOLD = 0x9E3779B97F4A7C15, 0xFF51AFD7ED558CCD
#: How many places for shortcuts there are, and lines, as a power of two.
SHORTCUT_BITS, SHORTCUT_BYTES = 16, 64
#: ``struct lb_places``: 16 bits each.
PLACES_BYTES = 2 << SHORTCUT_BITS
#: Up to so many members a line has their preferences; and their ids if these are so far apart at most.
SHORTCUT_MEMBERS, SHORTCUT_NEAR = 10, 15
BACKEND_BYTES = 64
#: Where ``source`` and ``generation`` stand in ``struct lb_backend``.
BACKEND_SOURCE_AT = 16
GENERATION = struct.Struct("=I")
GENERATION_AT = 32
#: Where ``flags`` stands.
BACKEND_FLAGS_AT = 38
SLOT_TRANSITION, NOBODY = 0x8000, 0x7FFF
#: Up to so many members slots have 8 bits, of which the highest means a transition.
NARROW_MEMBERS, NARROW_TRANSITION, NARROW_NOBODY = 0x7E, 0x80, 0x7F
#: Coarse time: CLOCK_MONOTONIC nanoseconds, shifted by this.
CLOCK_SHIFT = 30
PROBE_MAGIC = 0x4C6B5072
#: Geneve from node to node: UDP port, VNI, class and type of its option.
GENEVE_PORT, GENEVE_VNI, GENEVE_CLASS, GENEVE_TYPE = 6081, 0x4C6B50, 0xFF4C, 0x81
NO_ADDRESS = bytes(16)
ADDRESS_BYTES = 16

_SIZES = {
    "lb_frontend_key": FRONTEND_KEY.size,
    "lb_frontend": FRONTEND.size,
    "lb_shortcut": SHORTCUT_BYTES,
    "lb_places": PLACES_BYTES,
    "lb_row_page": PAGE_BYTES,
    "lb_ranks": RANK_BYTES << RENDEZVOUS_BITS,
    "lb_backend": BACKEND_BYTES,
    "lb_decap_key": DECAP_KEY.size,
    "lb_decap": DECAP.size,
    "lb_guard_key": GUARD_KEY.size,
    "lb_source_key": SOURCE_KEY.size,
    "lb_vip": VIP.size,
    "lb_sieve": SIEVE_AT + (1 << SIEVE_BITS) // 8,
    "lb_flow_key": FLOW_KEY.size,
    "lb_flow": FLOW.size,
    "lb_reply_key": REPLY_KEY.size,
    "lb_reply": REPLY.size,
    "lb_snat_key": SNAT_KEY.size,
    "lb_snat_flow": SNAT_FLOW.size,
    "lb_snat_port": SNAT_PORT.size,
    "lb_fragment_key": FRAGMENT_KEY.size,
    "lb_fragment": FRAGMENT.size,
    "lb_vlan_key": VLAN_KEY.size,
    "lb_vlan": VLAN.size,
    "lb_vlan_way": VLAN_WAY.size,
    "lb_settings": SETTINGS.size,
    "lb_probe": PROBE.size,
    "lb_sum": SUM.size,
}

_OFFSETS = {
    "lb_frontend_key": (0, 16, 18),
    "lb_frontend": (0, 4, 6, 8, 9, 10, 12, 16),
    "lb_backend": (0, BACKEND_SOURCE_AT, GENERATION_AT, 36, BACKEND_FLAGS_AT, BACKEND.size),
    "lb_decap_key": (0, 16, 32, 34),
    "lb_decap": (0,),
    "lb_guard_key": (0, 4),
    "lb_source_key": (0, 4, 8),
    "lb_sieve": (0, 4, SNAT_RANGE_AT, SNAT_RANGE_AT + 2, UNSTACKED_AT, SIEVE_AT),
    "lb_flow_key": (0, 16, 32, 34, 36),
    "lb_flow": (0, 4, 8, 12),
    "lb_reply_key": (0, 16, 32, 34, 36),
    "lb_reply": (0, 16, 18, 20),
    "lb_snat_key": (0, 16, 32, 34, 36),
    "lb_snat_flow": (0, 40, 44),
    "lb_snat_port": (0, 40, 44, 48, 52),
    "lb_fragment_key": (0, 16, 32, 36),
    "lb_fragment": (0, 2),
    "lb_vlan_key": (0, 4),
    "lb_vlan_way": (0, 4, 8),
    "lb_settings": (0,),
    "lb_probe": (0, 4, 8, 12),
    "lb_sum": (0, 8),
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
