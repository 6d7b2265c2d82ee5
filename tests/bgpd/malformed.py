"""What no router should say: RFC 7606 for UPDATEs, RFC 4271 section 6 for headers and OPENs. By name."""

from __future__ import annotations

import struct

from tests.bgpd.scripted import KEEPALIVE, MARKER, message, open_message

_NLRI = b"\x18\x0a\x01\x02"

#: Attributes as they should be: flags, type, value.
_GOOD = {
    1: (0x40, b"\x00"),  # ORIGIN
    2: (0x40, b"\x02\x01" + struct.pack("!I", 65000)),  # AS_PATH
    3: (0x40, b"\x0a\x63\x00\x03"),  # NEXT_HOP
    4: (0x80, b"\x00\x00\x00\x05"),  # MULTI_EXIT_DISC
    5: (0x40, b"\x00\x00\x00\x64"),  # LOCAL_PREF
    6: (0x40, b""),  # ATOMIC_AGGREGATE
    7: (0xC0, struct.pack("!I", 65000) + b"\x0a\x63\x00\x03"),  # AGGREGATOR
    8: (0xC0, b"\xfd\xe8\x00\x01"),  # COMMUNITIES
    9: (0x80, b"\x0a\x63\x00\x03"),  # ORIGINATOR_ID
    10: (0x80, b"\x0a\x63\x00\x03"),  # CLUSTER_LIST
    14: (0x80, b"\x00\x01\x01\x04\x0a\x63\x00\x03\x00" + _NLRI),  # MP_REACH_NLRI
    15: (0x80, b"\x00\x01\x01" + _NLRI),  # MP_UNREACH_NLRI
    16: (0xC0, b"\x00\x02\xfd\xe8\x00\x00\x00\x01"),  # EXTENDED COMMUNITIES
    32: (0xC0, struct.pack("!III", 65000, 1, 2)),  # LARGE_COMMUNITY
    200: (0xC0, b"\x01"),  # nobody knows it
}
_MANDATORY = (1, 2, 3)


def _attribute(code: int, flags: int | None = None, value: bytes | None = None, length: int | None = None) -> bytes:
    good_flags, good_value = _GOOD[code]
    value = good_value if value is None else value
    return bytes([good_flags if flags is None else flags, code, len(value) if length is None else length]) + value


def _update(
    attributes: bytes, nlri: bytes = _NLRI, withdrawn: bytes = b"", attributes_length: int | None = None
) -> bytes:
    length = len(attributes) if attributes_length is None else attributes_length
    body = struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", length) + attributes + nlri
    return message(2, body)


def _with(bad: bytes, leave_out: int) -> bytes:
    """An UPDATE with what is mandatory, and ``bad`` in place of one attribute."""
    return _update(b"".join(_attribute(code) for code in _MANDATORY if code != leave_out) + bad)


def updates() -> dict[str, bytes]:
    """UPDATEs in a header that is right. None of them may cost a session that carries no routes to us."""
    found: dict[str, bytes] = {}
    for code, (flags, value) in _GOOD.items():
        found[f"attribute {code}: flags turned round"] = _with(_attribute(code, flags=flags ^ 0xC0), code)
        found[f"attribute {code}: one byte too long"] = _with(_attribute(code, value=value + b"\x00"), code)
        found[f"attribute {code}: one byte too short"] = _with(_attribute(code, value=value[:-1]), code)
        found[f"attribute {code}: empty"] = _with(_attribute(code, value=b""), code)
        found[f"attribute {code}: longer than the message"] = _with(_attribute(code, length=255), code)
        found[f"attribute {code}: twice"] = _with(_attribute(code) * 2, code)
        if code in _MANDATORY:
            found[f"attribute {code}: missing"] = _with(b"", code)
    everything = b"".join(map(_attribute, _MANDATORY))
    found |= {
        "attributes longer than the message": _update(everything, attributes_length=4000),
        "withdrawn routes longer than the message": message(2, b"\xff\xff" + everything),
        "a prefix of 33 bits": _update(everything, nlri=b"\x21\x0a\x01\x02\x03\x04"),
        "a prefix of 255 bits": _update(everything, nlri=b"\xff"),
        "a prefix that is cut off": _update(everything, nlri=b"\x20\x0a"),
        "a withdrawn prefix that is cut off": _update(b"", nlri=b"", withdrawn=b"\x20\x0a"),
        "ORIGIN 77": _with(_attribute(1, value=b"\x4d"), 1),
        "AS_PATH segment of type 9": _with(_attribute(2, value=b"\x09\x01\x00\x00\xfd\xe8"), 2),
        "AS_PATH segment without ASNs": _with(_attribute(2, value=b"\x02\x00"), 2),
        "NEXT_HOP 0.0.0.0": _with(_attribute(3, value=bytes(4)), 3),
        "NEXT_HOP is us": _with(_attribute(3, value=b"\x0a\x63\x00\x01"), 3),
        "extended length without need": _with(b"\x50\x01\x00\x01\x00", 1),
        "4096 bytes": _update(everything, nlri=(_NLRI * 1100)[: 4096 - 23 - len(everything)]),
    }
    return found


def headers() -> dict[str, bytes]:
    """After these nobody can say where the next message begins: NOTIFICATION 1/x, and the session ends."""
    return {
        "marker of zeros": message(4, marker=bytes(16)),
        "marker with one bit less": message(4, marker=b"\xfe" + MARKER[1:]),
        "length 0": message(4, length=0),
        "length 18": message(4, length=18),
        "length 4097": message(2, bytes(4078), length=4097),
        "length 65535": message(2, bytes(4000), length=65535),
        "KEEPALIVE of 20 bytes": message(4, b"\x00"),
        "type 0": message(0),
        "type 77": message(77, b"\x00" * 10),
        "UPDATE of 19 bytes": message(2),
        "UPDATE of 22 bytes": message(2, b"\x00\x00\x00"),
        "NOTIFICATION of 19 bytes": message(3),
        "noise": bytes(range(256)) * 16,
    }


def others() -> dict[str, bytes]:
    """Messages that are right in themselves, at the wrong time or about what was not agreed."""
    return {
        "a second OPEN": open_message(),
        "ROUTE-REFRESH that was not agreed": message(5, b"\x00\x01\x00\x01"),
        "ROUTE-REFRESH that is cut off": message(5, b"\x00"),
        "NOTIFICATION 0/0": message(3, b"\x00\x00"),
        "NOTIFICATION 255/255 with noise": message(3, b"\xff\xff" + bytes(range(256))),
        "shutdown text that is no UTF-8": message(3, b"\x06\x02\x04\xff\xfe\x1b["),
        "shutdown text longer than itself": message(3, b"\x06\x02\xff" + b"x" * 10),
        "NOTIFICATION of 4096 bytes": message(3, b"\x06\x02" + b"\x80" * 4075),
    }


def opens() -> dict[str, bytes]:
    """OPENs, or what stands in their place, that must not lead to a session."""
    full = b"\x02\xfd" + b"\x80\xfb" + bytes(251)
    return {
        "version 3": open_message(version=3),
        "hold time 1": open_message(hold=1),
        "hold time 2": open_message(hold=2),
        "another ASN": open_message(asn=65099),
        "identifier 0.0.0.0": open_message(identifier="0.0.0.0"),
        "options longer than the message": open_message(options_length=200),
        "options shorter than they are": open_message(options_length=1),
        "parameter longer than the options": open_message(options=b"\x02\xff\x01\x04"),
        "parameter without a length": open_message(options=b"\x02"),
        "capability longer than its parameter": open_message(options=b"\x02\x02\x01\xff"),
        "capability without a length": open_message(options=b"\x02\x01\x01"),
        "multiprotocol of one byte": open_message(options=b"\x02\x03\x01\x01\x00"),
        "four-byte ASN of two bytes": open_message(options=b"\x02\x04\x41\x02\xfd\xe8"),
        "graceful restart of one byte": open_message(options=b"\x02\x03\x40\x01\x00"),
        "graceful restart that is cut off": open_message(options=b"\x02\x07\x40\x05\x00\x78\x00\x01\x01"),
        "unknown parameter": open_message(options=b"\x63\x01\x00"),
        "extended parameters that are cut off": open_message(options=b"\xff\x00", options_length=255),
        "OPEN of 28 bytes": message(1, bytes(9)),
        "OPEN of 4096 bytes": message(1, b"\x04\xfd\xe8\x00\x1e\x0a\x63\x00\x09\xff" + full + bytes(4096 - 29 - 255)),
        "KEEPALIVE in its place": KEEPALIVE,
        "UPDATE in its place": _update(b"".join(map(_attribute, _MANDATORY))),
        "noise": bytes(range(256)) * 16,
        "nothing but half a header": MARKER[:9],
    }


def odd_opens() -> dict[str, bytes]:
    """OPENs that are strange and allowed: what we do not know is left alone (RFC 5492)."""
    capabilities = b"\x01\x04\x00\x01\x00\x01\x41\x04" + struct.pack("!I", 65000)
    rest = 255 - 2 - len(capabilities)
    return {
        "255 bytes of options": open_message(
            options=b"\x02" + bytes([253]) + capabilities + bytes([200, rest - 2]) + bytes(rest - 2)
        ),
        "an unknown capability a hundred times": open_message(
            options=b"\x02" + bytes([len(capabilities) + 200]) + capabilities + b"\xc8\x00" * 100
        ),
    }
