"""How large the maps are. They are made once: other limits mean other maps, which needs ``uninstall`` first."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Entries per map; ``row_pages`` are 4 KiB each and hold 1,024 slots, so the default has room for 4,000 small rows.

    ``rest``: seconds before a row or backend id that was given back is used again.
    """

    frontends: int = 65536
    vips: int = 65536
    row_pages: int = 4096
    backends: int = 262144
    decaps: int = 65536
    guards: int = 4096
    replies: int = 262144
    rest: float = 1.0

    def max_entries(self) -> dict[str, int]:
        """By map name; 0: what the object declares."""
        return {
            "lb_frontends": self.frontends,
            "lb_vips": self.vips,
            "lb_rows": self.row_pages,
            "lb_backends": self.backends,
            "lb_decaps": self.decaps,
            "lb_guards": self.guards,
            "lb_replies": self.replies,
            "lb_stats": 0,
        }
