"""Which original knew which key, as far back as their configuration was this file."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Dialect(StrEnum):
    """An original. The values are those of ``lockstep check --dialect``."""

    CILIUM_1_10 = "cilium-1.10"
    CILIUM_1_11 = "cilium-1.11"
    METALLB_0_9 = "metallb-0.9"
    METALLB_0_10 = "metallb-0.10"
    METALLB_0_11 = "metallb-0.11"
    METALLB_0_12 = "metallb-0.12"

    @property
    def cilium(self) -> bool:
        """True for Cilium. It carried a fork of MetalLB 0.9 with some fixes of 0.10."""
        return self in (Dialect.CILIUM_1_10, Dialect.CILIUM_1_11)

    @property
    def minor(self) -> int:
        """The minor version of the MetalLB whose parser it had: 9 to 12."""
        return 9 if self.cilium else int(self.rpartition(".")[2])


_ALWAYS, NEVER = 9, 99

_TOP = {
    "peers": _ALWAYS,
    "bgp-communities": _ALWAYS,
    "address-pools": _ALWAYS,
    "bfd-profiles": 12,
    "pod-cidrs": NEVER,
    "drain": NEVER,
}
_PEER = {
    **dict.fromkeys(("my-asn", "peer-asn", "peer-address", "peer-port", "hold-time", "router-id"), _ALWAYS),
    **dict.fromkeys(("node-selectors", "password"), _ALWAYS),
    "source-address": 11,
    **dict.fromkeys(("keepalive-time", "ebgp-multihop", "bfd-profile"), 12),
    **dict.fromkeys(
        ("password-secret", "ttl-security", "graceful-restart", "families", "passive", "connect-port"), NEVER
    ),
}
_POOL = {
    **dict.fromkeys(("name", "protocol", "addresses", "auto-assign", "avoid-buggy-ips", "bgp-advertisements"), _ALWAYS),
    **dict.fromkeys(("readiness", "zero-endpoints", "not-ready-connections"), NEVER),
}
_ADVERTISEMENT = {
    **dict.fromkeys(("aggregation-length", "localpref", "communities"), _ALWAYS),
    "aggregation-length-v6": 12,
    **dict.fromkeys(("med", "as-path-prepend", "origin", "large-communities", "peers", "node-selectors"), NEVER),
}

#: By kind of map: the keys that Lockstep or an original knows, and the minor version of MetalLB that had each first.
SINCE: Mapping[str, Mapping[str, int]] = {
    "": _TOP,
    "peer": _PEER,
    "pool": _POOL,
    "advertisement": _ADVERTISEMENT,
}


def unknown_key(dialect: Dialect, kind: str, key: str) -> str:
    """What the original did with this key if it did not know it; empty if it did, or if nobody does."""
    since = SINCE[kind].get(key, _ALWAYS)
    if since <= dialect.minor:
        return ""
    knower = "no original knows it" if since == NEVER else f"metallb-0.{since} was the first to know it"
    return f"{dialect} refused the whole file because of this key; {knower}"
