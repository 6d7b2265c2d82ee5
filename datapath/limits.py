"""How large the maps are. They are made once: other limits mean other maps, which needs ``uninstall`` first."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Entries per map; ``row_pages`` are 4 KiB each: a frontend needs 8 bytes with one backend, 4 KiB with up to 16,
    16 with up to 126, 32 with up to 200, 128 with more, and twice that while slots of it are in transition.

    ``rest``: seconds before a row or backend id that was given back is used again.
    """

    frontends: int = 65536
    vips: int = 65536
    row_pages: int = 16384
    backends: int = 262144
    decaps: int = 65536
    guards: int = 4096
    sources: int = 65536
    flows: int = 262144
    flows_new: int = 65536
    replies: int = 262144
    replies_new: int = 65536
    replies_udp: int = 262144
    fragments: int = 8192
    vlans: int = 4096
    rest: float = 1.0

    def max_entries(self) -> dict[str, int]:
        """By map name; 0: what the object declares."""
        return {
            "lb_frontends": self.frontends,
            "lb_vips": self.vips,
            "lb_sieve": 0,
            "lb_rows": self.row_pages,
            "lb_backends": self.backends,
            "lb_decaps": self.decaps,
            "lb_guards": self.guards,
            "lb_sources": self.sources,
            "lb_flows": self.flows,
            "lb_flows_new": self.flows_new,
            "lb_replies": self.replies,
            "lb_replies_new": self.replies_new,
            "lb_replies_udp": self.replies_udp,
            "lb_fragments": self.fragments,
            "lb_vlans": self.vlans,
            "lb_settings": 0,
            "lb_scratch": 0,
            "lb_stats": 0,
        }
