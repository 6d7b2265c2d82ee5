"""Geneve goes from node to node: which backends on other nodes it can reach, and by which addresses.

A backend whose node is not known gets no packets from here. It is better left out for a moment than that a new node in
the cluster takes every VIP with a Pod on it off all others.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import msgspec

from announcer.decide.endpoints import Candidate
from announcer.decide.memo import Memo
from announcer.model.net import IPAddress
from announcer.model.objects import Node, ObjectKey

#: InternalIPs by the name of the node. The same object for the same addresses, whatever else of the nodes has changed.
Underlay = Mapping[str, tuple[IPAddress, ...]]

_underlays: Memo[Underlay] = Memo(4)
#: How many nodes a remark names.
_NAMED = 3


def underlay_of(nodes: Mapping[ObjectKey, Node]) -> Underlay:
    """The addresses of all nodes."""
    return _underlays.get(
        (nodes,), (), lambda: _same_for_equal(frozenset((key.name, node.addresses) for key, node in nodes.items()))
    )


@functools.lru_cache(maxsize=4)
def _same_for_equal(pairs: frozenset[tuple[str, tuple[IPAddress, ...]]]) -> Underlay:
    return dict(pairs)


def through_nodes(
    candidates: Iterable[Candidate], underlay: Underlay, version: int
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Those that can be reached, remote ones with the address of their node; and those that cannot."""
    reached, missed = [], []
    for one in candidates:
        if one.backend.local:
            reached.append(one)
            continue
        node = next((address for address in underlay.get(one.node, ()) if address.version == version), None)
        if node is None:
            missed.append(one)
        else:
            reached.append(msgspec.structs.replace(one, backend=msgspec.structs.replace(one.backend, node=node)))
    return tuple(reached), tuple(missed)


def missed_remark(missed: tuple[Candidate, ...], version: int) -> str:
    """Why these get no packets from here, in words for people."""
    names = sorted({one.node for one in missed} - {""})
    named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    why = f"no IPv{version} address is known of {named}" if names else "they name no node"
    return f"geneve: {len(missed)} endpoints on other nodes are left out: {why}"
