"""What a BGP message on the wire says, as far as the speaker needs it (RFC 4271 section 4).

Only messages that ExaBGP itself wrote, and the NOTIFICATIONs it received, come here. A message that does not parse is
reported, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import msgspec

from announcer.model.net import Family, IPNetwork

HEADER_BYTES = 19
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4

_CAPABILITIES = 2
_MULTIPROTOCOL, _NEXT_HOP = 1, 5
_MP_REACH, _MP_UNREACH = 14, 15
_EXTENDED_LENGTH = 0x10
#: AFI in two bytes, SAFI in one.
_UNICAST = {b"\0\x01\x01": Family.IPV4, b"\0\x02\x01": Family.IPV6}
#: In the capability of RFC 8950: AFI and SAFI in two bytes each, the AFI of the next hop.
_IPV4_OVER_IPV6 = b"\0\x01\0\x01\0\x02"

#: RFC 4271 section 4.5, RFC 4486 (Cease), RFC 8538, RFC 9384.
_ERRORS = {
    1: "Message Header Error",
    2: "OPEN Message Error",
    3: "UPDATE Message Error",
    4: "Hold Timer Expired",
    5: "Finite State Machine Error",
    6: "Cease",
    7: "ROUTE-REFRESH Message Error",
}
_OPEN_ERRORS = {
    1: "Unsupported Version Number",
    2: "Bad Peer AS",
    3: "Bad BGP Identifier",
    4: "Unsupported Optional Parameter",
    6: "Unacceptable Hold Time",
    7: "Unsupported Capability",
}
_CEASES = {
    1: "Maximum Number of Prefixes Reached",
    2: "Administrative Shutdown",
    3: "Peer De-configured",
    4: "Administrative Reset",
    5: "Connection Rejected",
    6: "Other Configuration Change",
    7: "Connection Collision Resolution",
    8: "Out of Resources",
    9: "Hard Reset",
    10: "BFD Down",
}


class Update(msgspec.Struct, frozen=True):
    """The prefixes of an UPDATE. ``marked``: the family of an End-of-RIB, which has none (RFC 4724 section 2)."""

    withdrawn: tuple[IPNetwork, ...] = ()
    announced: tuple[IPNetwork, ...] = ()
    marked: Family | None = None


class Offer(msgspec.Struct, frozen=True):
    """What an OPEN says of families: those of its Multiprotocol capability (RFC 4760), and whether it takes IPv4 routes
    with an IPv6 next hop (RFC 8950)."""

    families: frozenset[Family] = frozenset()
    ipv6_next_hop: bool = False


def parse_update(body: bytes) -> Update:
    """The prefixes of an UPDATE whose ``body`` follows the 19 bytes of header. Raises ValueError if it is malformed.

    IPv4 prefixes stand at either end of it, or like all others in an attribute (RFC 4760 sections 3 and 4, RFC 8950).
    """
    field, rest = _field(body)
    attributes, tail = _field(rest)
    withdrawn, announced = _prefixes(field, Family.IPV4), _prefixes(tail, Family.IPV4)
    marked = None if attributes or withdrawn or announced else Family.IPV4
    for kind, value in _path_attributes(attributes):
        if kind == _MP_UNREACH:
            family = _family(value[:3])
            found = _prefixes(value[3:], family)
            withdrawn += found
            marked = family if not found else marked
        elif kind == _MP_REACH:
            # Family, the length of the next hop, the next hop, one reserved byte.
            end = 5 + value[3] if len(value) > 3 else 5
            if len(value) < end:
                raise ValueError("MP_REACH_NLRI is shorter than its own lengths say")
            announced += _prefixes(value[end:], _family(value[:3]))
    if withdrawn or announced:
        marked = None
    return Update(withdrawn=withdrawn, announced=announced, marked=marked)


def _field(data: bytes) -> tuple[bytes, bytes]:
    """Split off a field that begins with its length in two bytes."""
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < 2 or len(data) < end:
        raise ValueError("UPDATE is shorter than its own lengths say")
    return data[2:end], data[end:]


def _path_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute (RFC 4271 section 4.3)."""
    at = 0
    while at < len(data):
        begin = at + (4 if data[at] & _EXTENDED_LENGTH else 3)
        end = begin + int.from_bytes(data[at + 2 : begin], "big")
        if len(data) < begin or len(data) < end:
            raise ValueError("a path attribute is longer than what is left")
        yield data[at + 1], data[begin:end]
        at = end


def _family(code: bytes) -> Family:
    family = _UNICAST.get(code)
    if family is None:
        raise ValueError(f"address family {code.hex()} is not one that we speak")
    return family


def _prefixes(data: bytes, family: Family) -> tuple[IPNetwork, ...]:
    """Prefixes packed as one byte of length in bits and as many bytes as those need (RFC 4271 section 4.3)."""
    size = 4 if family is Family.IPV4 else 16
    found: list[IPNetwork] = []
    at = 0
    while at < len(data):
        bits = data[at]
        end = at + 1 + (bits + 7) // 8
        if bits > 8 * size or end > len(data):
            raise ValueError(f"prefix of {bits} bits does not fit")
        found.append(ip_network((data[at + 1 : end].ljust(size, b"\0"), bits), strict=False))
        at = end
    return tuple(found)


def parse_open(body: bytes) -> Offer:
    """What the OPEN with this ``body`` offers. Raises ValueError if it is malformed.

    One without the Multiprotocol capability means IPv4 unicast; but to such a peer the engine (ExaBGP 5.0.15) sends
    nothing at all, so it counts as offering nothing.
    """
    found = _capabilities(body)
    families = frozenset(_UNICAST[key] for code, value in found if code == _MULTIPROTOCOL and (key := _mp(value)))
    pairs = [value[at : at + 6] for code, value in found if code == _NEXT_HOP for at in range(0, len(value), 6)]
    return Offer(families, ipv6_next_hop=_IPV4_OVER_IPV6 in pairs)


def _mp(value: bytes) -> bytes:
    """The family in a Multiprotocol capability as in an attribute, without the reserved byte; b"" if not ours."""
    code = value[:2] + value[3:4]
    return code if code in _UNICAST else b""


def _capabilities(body: bytes) -> list[tuple[int, bytes]]:
    """Capabilities of an OPEN as code and value (RFC 5492 section 4; RFC 9072 for long ones)."""
    if len(body) < 10:
        return []
    extended = body[9:11] == b"\xff\xff"
    parameters = body[13 : 13 + int.from_bytes(body[11:13], "big")] if extended else body[10 : 10 + body[9]]
    found = []
    for kind, value in _type_length_values(parameters, 2 if extended else 1):
        if kind == _CAPABILITIES:
            found += _type_length_values(value, 1)
    return found


def _type_length_values(data: bytes, length_bytes: int) -> list[tuple[int, bytes]]:
    found = []
    begin = 1 + length_bytes
    while data:
        end = begin + int.from_bytes(data[1:begin], "big")
        if len(data) < begin or len(data) < end:
            raise ValueError("OPEN parameter is shorter than its length says")
        found.append((data[0], data[begin:end]))
        data = data[end:]
    return found


def describe_notification(body: bytes) -> str:
    """A NOTIFICATION in words: ``Cease (6), Administrative Shutdown (2): "maintenance"``."""
    if len(body) < 2:
        return "NOTIFICATION without an error code"
    code, subcode, data = body[0], body[1], body[2:]
    detail = {2: _OPEN_ERRORS, 6: _CEASES}.get(code, {}).get(subcode, "subcode")
    text = f"{_ERRORS.get(code, 'error')} ({code}), {detail} ({subcode})"
    message = _shutdown_communication(data) if code == 6 and subcode in (2, 4) else ""
    return f'{text}: "{message}"' if message else text


def _shutdown_communication(data: bytes) -> str:
    """The text that RFC 9003 lets an operator send along; "" if there is none. Unprintable characters are dropped."""
    text = data[1 : 1 + data[0]].decode("utf-8", "replace") if data else ""
    return "".join(character for character in text if character.isprintable())
