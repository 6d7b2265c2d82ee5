"""What a BGP message on the wire says, as far as the speaker needs it (RFC 4271 section 4).

Only messages that ExaBGP itself wrote, and the NOTIFICATIONs it received, come here. A message that does not parse is
reported, never guessed at.
"""

from __future__ import annotations

from ipaddress import IPv4Network

import msgspec

HEADER_BYTES = 19
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4

_CAPABILITIES = 2
_MULTIPROTOCOL = 1

#: RFC 4271 section 4.5, RFC 4486 (Cease), RFC 8538.
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
}


class Update(msgspec.Struct, frozen=True):
    """The prefixes of an UPDATE. Both empty: End-of-RIB for IPv4 unicast (RFC 4724 section 2)."""

    withdrawn: tuple[IPv4Network, ...]
    announced: tuple[IPv4Network, ...]

    @property
    def end_of_rib(self) -> bool:
        """True for the empty UPDATE."""
        return not self.withdrawn and not self.announced


def parse_update(body: bytes) -> Update:
    """The prefixes of an UPDATE whose ``body`` follows the 19 bytes of header. Raises ValueError if it is malformed."""
    withdrawn, rest = _field(body)
    _attributes, announced = _field(rest)
    return Update(withdrawn=_prefixes(withdrawn), announced=_prefixes(announced))


def _field(data: bytes) -> tuple[bytes, bytes]:
    """Split off a field that begins with its length in two bytes."""
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < 2 or len(data) < end:
        raise ValueError("UPDATE is shorter than its own lengths say")
    return data[2:end], data[end:]


def _prefixes(data: bytes) -> tuple[IPv4Network, ...]:
    """Prefixes packed as one byte of length in bits and as many bytes as those need (RFC 4271 section 4.3)."""
    found = []
    at = 0
    while at < len(data):
        bits = data[at]
        end = at + 1 + (bits + 7) // 8
        if bits > 32 or end > len(data):
            raise ValueError(f"prefix of {bits} bits does not fit")
        found.append(IPv4Network((data[at + 1 : end].ljust(4, b"\0"), bits), strict=False))
        at = end
    return tuple(found)


def offers_ipv4_unicast(body: bytes) -> bool:
    """True if the OPEN with this ``body`` lets us send IPv4 routes: it says so, or says nothing of families (RFC 4760).

    Raises ValueError if it is malformed.
    """
    families = [value for code, value in _capabilities(body) if code == _MULTIPROTOCOL]
    return not families or b"\0\x01\0\x01" in families


def _capabilities(body: bytes) -> list[tuple[int, bytes]]:
    """Capabilities of an OPEN as code and value (RFC 5492 section 4)."""
    found = []
    for kind, value in _type_length_values(body[10 : 10 + body[9]] if len(body) > 9 else b""):
        if kind == _CAPABILITIES:
            found += _type_length_values(value)
    return found


def _type_length_values(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        if len(data) < 2 or len(data) < 2 + data[1]:
            raise ValueError("OPEN parameter is shorter than its length says")
        found.append((data[0], data[2 : 2 + data[1]]))
        data = data[2 + data[1] :]
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
