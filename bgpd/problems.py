"""What ExaBGP, or this release, cannot run among neighbors. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from announcer.model.bgp import Neighbor, Password
from announcer.model.errors import ConfigProblem
from announcer.model.net import IPAddress

#: ExaBGP knows no way to write a quote inside quotes; all else of ASCII that can be seen it takes.
_SAFE_PASSWORD = re.compile(r"[!-~]+")
_QUOTES = frozenset("\"'")
#: RFC 2385 leaves it open; this is what Linux takes (linux/tcp.h, TCP_MD5SIG_MAXKEYLEN).
_PASSWORD_BYTES = 80


def neighbor_problems(neighbors: Iterable[Neighbor]) -> list[ConfigProblem]:
    """What ExaBGP, or this release, cannot run among ``neighbors``; empty if all is well."""
    problems: list[ConfigProblem] = []
    names: set[str] = set()
    addresses: set[IPAddress] = set()
    for neighbor in neighbors:
        problems += [ConfigProblem(path=f"neighbors[{neighbor.name}]", problem=text) for text in _one(neighbor)]
        if neighbor.name in names or neighbor.address in addresses:
            text = f"another neighbor has the same name or the address {neighbor.address}"
            problems.append(ConfigProblem(path=f"neighbors[{neighbor.name}]", problem=text))
        names.add(neighbor.name)
        addresses.add(neighbor.address)
    return problems


def _one(neighbor: Neighbor) -> Iterable[str]:
    yield from _address_problems(neighbor)
    yield from _number_problems(neighbor)
    if neighbor.multihop and neighbor.ttl_security:
        yield "multihop and TTL security exclude each other: TTL 255 proves that the peer is one hop away (RFC 5082)"
    if neighbor.password is not None:
        yield from _password_problems(neighbor.password)


def _address_problems(neighbor: Neighbor) -> Iterable[str]:
    local = neighbor.local_address
    if local is not None and local.version != neighbor.address.version:
        yield f"the local address {local} and the address {neighbor.address} are not of one family"
    for what, address in (("address", neighbor.address), ("local address", local)):
        if address is not None and address.version == 6 and address.is_link_local:
            yield f"the {what} {address} is link-local, and the engine cannot be told of which link (RFC 4007)"
    if neighbor.router_id is not None and neighbor.router_id.version != 4:
        yield f"the router id {neighbor.router_id} is not written as an IPv4 address (RFC 6286)"
    if neighbor.router_id is not None and int(neighbor.router_id) == 0:
        yield "the router id 0.0.0.0 is not valid (RFC 6286 section 2.1)"


def _number_problems(neighbor: Neighbor) -> Iterable[str]:
    if not 1 <= neighbor.port <= 65535:
        yield f"port {neighbor.port} is not between 1 and 65535"
    if not (neighbor.hold_time == 0 or 3 <= neighbor.hold_time <= 65535):
        yield f"hold time {neighbor.hold_time} is neither 0 nor between 3 and 65535 (RFC 4271 section 4.2)"
    for what, asn in (("peer ASN", neighbor.peer_asn), ("local ASN", neighbor.local_asn)):
        if not 1 <= asn <= 4294967295:
            yield f"{what} {asn} is not between 1 and 4294967295"
    if neighbor.graceful_restart is not None and not 1 <= neighbor.graceful_restart <= 4095:
        yield f"graceful restart time {neighbor.graceful_restart} is not between 1 and 4095 (RFC 4724 section 3)"


def _password_problems(password: Password) -> Iterable[str]:
    """Never a word of the password itself, nor how long it is."""
    if not password.value:
        yield "the TCP-MD5 password is empty"
    elif not _SAFE_PASSWORD.fullmatch(password.value) or not _QUOTES.isdisjoint(password.value):
        yield "the TCP-MD5 password has a character that is not visible ASCII, or a quote, which ExaBGP cannot take"
    if len(password.value) > _PASSWORD_BYTES:
        yield f"the TCP-MD5 password is longer than {_PASSWORD_BYTES} bytes, which is all that Linux takes"
