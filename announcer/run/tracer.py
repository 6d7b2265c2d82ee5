"""``trace``: the datapath's answer about one packet, beside what the routers were told about its address."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from announcer.model.codec import to_builtins
from announcer.model.net import IPAddress, Protocol
from announcer.status.http import ListenError, parse_tcp_address
from announcer.status.sight import Sight
from announcer.status.vip_state import see_vip
from datapath.hand import Datapath
from datapath.trace import TraceRequest

SCHEMA = "lockstep.trace/v1"


class DatapathTracer:
    """Answers ``/v1/trace``."""

    def __init__(self, datapath: Datapath, look: Callable[[], Sight]) -> None:
        """``look`` gives the agent's values now."""
        self._datapath = datapath
        self._look = look

    def trace(self, query: dict[str, str]) -> dict[str, Any]:
        """Query: ``from`` and ``to`` as ADDR:PORT, ``proto`` tcp, udp or sctp, ``device``. Raises ``ValueError``."""
        source, source_port = _address(query, "from")
        dest, dest_port = _address(query, "to")
        request = TraceRequest(
            source=source,
            source_port=source_port,
            dest=dest,
            dest_port=dest_port,
            protocol=_protocol(query.get("proto", "tcp")),
            device=query.get("device"),
        )
        result = to_builtins(self._datapath.trace(request))
        problem = result.pop("problem")
        if problem:
            raise ValueError(problem)
        sight = self._look()
        seen = see_vip(sight, dest)
        known = dest in sight.desired.vips or bool(seen.peers)
        vip = {"state": seen.state, "announced": bool(seen.peers), "peers": list(seen.peers), "reason": seen.reason}
        return {"schema": SCHEMA, **result, "vip": vip if known else None}


def _address(query: dict[str, str], name: str) -> tuple[IPAddress, int]:
    text = query.get(name, "")
    try:
        host, port = parse_tcp_address(text)
    except ListenError:
        raise ValueError(f"{name}: {text!r} is not ADDR:PORT, for example 203.0.113.10:80") from None
    return ipaddress.ip_address(host), port


def _protocol(text: str) -> Protocol:
    try:
        return Protocol(text.upper())
    except ValueError:
        raise ValueError(f"proto: {text!r} is none of tcp, udp, sctp") from None
