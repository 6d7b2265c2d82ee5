"""``drain``: when what the Node object says takes a node out of service."""

from __future__ import annotations

from announcer.config.scalars import truth, whole
from announcer.config.selectors import label_key
from announcer.config.types import Drain
from announcer.config.walk import At, Keys
from announcer.yamltree import is_null

KEYS = Keys(served=("on-cordon", "taints", "floor"))


def read_drain(at: At | None) -> Drain:
    """The setting; without it neither a cordon nor a taint of somebody else drains, and one announcer is kept."""
    if at is None or is_null(at.node):
        return Drain()
    fields = at.fields(KEYS)
    if fields is None:
        return Drain()
    taints_at = fields.at("taints")
    taints = [item.read(label_key) for item in taints_at.items("taint keys")] if taints_at else []
    return Drain(
        on_cordon=fields.read("on-cordon", truth, False),
        taints=tuple(sorted({taint for taint in taints if taint is not None})),
        floor=fields.read("floor", whole(0, 1000, 1), 1),
    )
