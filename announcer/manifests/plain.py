"""The endpoints that there are most of, read without a ``Field`` for each value: a fifth of the time.

A cluster has a hundred thousand of them, and nearly all have one IPv4 address, a node, and conditions. Whatever else
one has, or has wrongly, is left to the reader that knows how to say so.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from sys import intern
from typing import Any

from announcer.model.objects import Endpoint

_NOTHING: dict[str, Any] = {}


def plain_endpoint(value: Any) -> Endpoint | None:
    """The endpoint of an IPv4 slice, or None if it is not as simple as that."""
    if type(value) is not dict or value.get("hints") is not None:
        return None
    addresses = value.get("addresses")
    if type(addresses) is not list or len(addresses) != 1 or type(addresses[0]) is not str:
        return None
    conditions = value.get("conditions")
    if conditions is None:
        conditions = _NOTHING
    if type(conditions) is not dict:
        return None
    ready = _truth(conditions.get("ready"), True)
    serving = _truth(conditions.get("serving"), ready)
    terminating = _truth(conditions.get("terminating"), False)
    node, zone = _text(value.get("nodeName")), _text(value.get("zone"))
    if ready is None or serving is None or terminating is None or node is None or zone is None:
        return None
    try:
        # As strict as ``ip_address`` is, and faster.
        packed = socket.inet_pton(socket.AF_INET, addresses[0])
    except (OSError, ValueError):
        return None
    return Endpoint(
        addresses=(IPv4Address(int.from_bytes(packed, "big")),),
        ready=ready,
        serving=serving,
        terminating=terminating,
        node_name=node,
        zone=zone,
    )


def _truth(value: Any, default: bool | None) -> bool | None:
    """None if it is neither absent nor a truth value."""
    if value is None:
        return default
    return value if type(value) is bool else None


def _text(value: Any) -> str | None:
    """None if it is neither absent nor text. There are few different ones, so each is kept once."""
    if value is None:
        return ""
    return intern(value) if type(value) is str else None
