"""LB IPAM: which Service has which address. Pure.

One set of rules for two homes. In a cluster one process decides for all and writes the result where everybody sees it,
so what was given once is remembered there and never moves (``cluster``). Standalone nodes each decide for themselves
and have no place to remember, so the answer must follow from the Services alone (``standalone``).

::

    Service ── wish_of ──> Wish ──┐
    bgp-config ── pools ──────────┼── search ──> Found | Refusal
    what is held already ─────────┘
"""

from announcer.ipam.cluster import Assignment, Outcome, assign
from announcer.ipam.results import Code
from announcer.ipam.standalone import Allocation, allocate
from announcer.ipam.wishes import is_ours

__all__ = ["Allocation", "Assignment", "Code", "Outcome", "allocate", "assign", "is_ours"]
