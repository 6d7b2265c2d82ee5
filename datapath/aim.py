"""Synthetic packets that would reach a given backend: the row is known, and so is the hash. Pure.

They come from addresses that belong to nobody, so that no flow is confused with theirs, unless the frontend lets in
none of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import chain, islice

from announcer.model.lb import FrontendKey
from announcer.model.net import IPAddress, IPNetwork, Protocol
from datapath import flow
from datapath.packet import Flow
from datapath.rows import Row
from datapath.sources import Ranges

#: Of the blocks for documentation (RFC 5737, RFC 3849).
_NOBODYS: dict[int, IPNetwork] = {4: IPv4Network("192.0.2.0/24"), 6: IPv6Network("2001:db8:ffff:ffff::/64")}
_PORTS = range(1024, 65536)
_TRIES = len(_PORTS)


def insiders(version: int, ranges: Ranges | None) -> Iterator[IPAddress]:
    """Clients that are let in, nobody's addresses first. ``ranges`` None: everybody is."""
    nobodys = _NOBODYS[version]
    if ranges is None:
        return _addresses(nobodys)
    ours = [max(nobodys, prefix, key=_length) for prefix in ranges if nobodys.overlaps(prefix)]
    return chain.from_iterable(map(_addresses, [*ours, *ranges]))


def outsider(version: int, ranges: Ranges) -> IPAddress | None:
    """A client that is not let in, None if there is none: nobody's address, or one that is next to a range."""
    beside = [int(prefix.network_address) - 1 for prefix in ranges] + [_last(prefix) + 1 for prefix in ranges]
    highest = _last(IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0"))
    numbers = [int(_NOBODYS[version][1]), *(number for number in beside if 0 <= number <= highest)]
    for number in numbers:
        if not any(int(prefix.network_address) <= number <= _last(prefix) for prefix in ranges):
            return ip_address(number.to_bytes(4 if version == 4 else 16, "big"))
    return None


def any_flow(key: FrontendKey, ranges: Ranges | None) -> Flow | None:
    """A flow of a client that is let in, None if nobody is."""
    client = next(insiders(key.vip.version, ranges), None)
    return None if client is None else Flow(client, _PORTS[0], key.vip, key.port, key.protocol)


def steady(
    key: FrontendKey, ranges: Ranges | None, first_ports: Callable[[int, range], Sequence[int]]
) -> Iterator[tuple[Flow, int]]:
    """Flows of one client who is let in, and the position that each leads to, none of them remembered.

    ``first_ports``: by position the first port that leads there, 0 for none: ``blocks.aim``.
    """
    client = next(insiders(key.vip.version, ranges), None)
    if client is None:
        return
    base = flow.hash_base(client, key.vip, key.port, key.protocol.number)
    for position, port in enumerate(first_ports(base, _PORTS)):
        if port:
            yield Flow(client, port, key.vip, key.port, key.protocol), position


def landings(
    row: Row, key: FrontendKey, ranges: Ranges | None, *, affinity: bool, serving: int
) -> Iterator[tuple[int, IPAddress, int]]:
    """Where flows of clients that are let in end, each of which may fall into another slot: client and port, and before
    them where the program sends the flow if it does not remember it: a position among the members (of which so many
    serve), or ``NOBODY``.

    With affinity the client alone decides, and without it his port does as well.
    """
    opens, kept = key.protocol is Protocol.TCP, serving if affinity else 0
    clients = insiders(key.vip.version, ranges)
    for client in islice(clients, _TRIES if affinity else 1):
        ports, told = (_PORTS[:1], (0,)) if affinity else (_PORTS, _PORTS)
        hashes = flow.flow_hashes(client, told, key.vip, key.port, key.protocol.number)
        for port, value in zip(ports, hashes, strict=True):
            yield row.without_entry(value, opens=opens, kept=kept), client, port


def reachable(row: Row, key: FrontendKey, *, affinity: bool, serving: int) -> set[int]:
    """Every position that :func:`landings` gives for some flow to this frontend.

    In transition that may leave out a backend: one that was just added gets new connections only, and a datagram opens
    none.
    """
    return row.reachable(opens=key.protocol is Protocol.TCP, kept=serving if affinity else 0)


def _addresses(prefix: IPNetwork) -> Iterator[IPAddress]:
    """From the last one on, but for what is the broadcast address of a subnet."""
    first = 0 if prefix.num_addresses <= 2 else 1
    return (prefix[-1 - number] for number in range(first, min(prefix.num_addresses, _TRIES + first)))


def _last(prefix: IPNetwork) -> int:
    return int(prefix.broadcast_address)


def _length(prefix: IPNetwork) -> int:
    return prefix.prefixlen
