"""How large the maps are. They are made once: other limits mean other maps, which needs ``uninstall`` first."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import msgspec

from datapath import abi

#: Far beyond what a node's memory is for; it keeps indices of bytes within 32 bits.
_MOST = 1 << 24
_MOST_WORDS = 1 << 30


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Entries per map; ``row_pages`` are 4 KiB each: a frontend needs 8 bytes for each of up to 16
    backends, 16 KiB with up to 126, 32 with up to 200, 128 with more; and twice that while slots of it are in
    transition, 8 KiB with up to 16 backends.

    ``rest``: seconds before a row or backend id that was given back is used again. ``linger``: seconds for which other
    nodes may send to a local backend after it was removed.
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
    snat_flows: int = 65536
    snat_ports: int = 65536
    fragments: int = 8192
    vlans: int = 4096
    rest: float = 1.0
    linger: float = 5.0

    def max_entries(self) -> dict[str, int]:
        """By map name; 0: what the object declares."""
        chosen = {name: getattr(self, field) for name, field in _FIELDS.items()}
        return {**chosen, "lb_nodes": self.backends, **dict.fromkeys(_FIXED, 0)}

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> Limits:
        """The defaults but for these maps: entries by map name, as in the status (``lb_rows``: words of 4 bytes).

        Raises ``ValueError`` in words for the operator.
        """
        fields = {}
        for name, size in sizes.items():
            if name not in _FIELDS:
                near = difflib.get_close_matches(name, _FIELDS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_FIELDS)}"
                raise ValueError(f'"{name}" is no map whose size can be set; {hint}')
            least, most = (abi.PAGE_WORDS, _MOST_WORDS) if name == "lb_rows" else (2, _MOST)
            if not least <= size <= most:
                raise ValueError(f"{name} can have {least} to {most} entries, not {size}")
            fields[_FIELDS[name]] = -(-size // abi.PAGE_WORDS) if name == "lb_rows" else size
        return cls(**fields)


#: The maps whose size is the operator's choice.
_FIELDS = {
    "lb_frontends": "frontends",
    "lb_vips": "vips",
    "lb_rows": "row_pages",
    "lb_backends": "backends",
    "lb_decaps": "decaps",
    "lb_guards": "guards",
    "lb_sources": "sources",
    "lb_flows": "flows",
    "lb_flows_new": "flows_new",
    "lb_replies": "replies",
    "lb_replies_new": "replies_new",
    "lb_replies_udp": "replies_udp",
    "lb_snat_flows": "snat_flows",
    "lb_snat_ports": "snat_ports",
    "lb_fragments": "fragments",
    "lb_vlans": "vlans",
}
#: Those that are as large as the programs declare them.
_FIXED = (
    "lb_shortcuts",
    "lb_places",
    "lb_sieve",
    "lb_ranks",
    "lb_vlan_ways",
    "lb_settings",
    "lb_scratch",
    "lb_snat_work",
    "lb_stats",
)
