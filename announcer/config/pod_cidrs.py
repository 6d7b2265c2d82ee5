"""``pod-cidrs``: whether a node announces its Pod CIDRs, with which attributes and to whom."""

from __future__ import annotations

from announcer.config.attributes import ATTRIBUTE_KEYS, Known, read_attributes
from announcer.config.scalars import truth
from announcer.config.types import PodCidrs
from announcer.config.walk import At, Keys
from announcer.yamltree import is_null

KEYS = Keys(served=("announce", *ATTRIBUTE_KEYS))


def read_pod_cidrs(at: At | None, known: Known) -> PodCidrs:
    """The setting; announced to every peer and without attributes if there is none."""
    if at is None or is_null(at.node):
        return PodCidrs()
    fields = at.fields(KEYS)
    if fields is None:
        return PodCidrs()
    return PodCidrs(
        announce=fields.read("announce", truth, True),
        advertisement=read_attributes(fields, known),
    )
