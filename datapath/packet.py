"""Synthetic packets, and what became of them. Pure: bytes in, bytes out."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import NamedTuple

from announcer.model.net import Protocol

_ETHERNET, _IPV4 = 14, 20
_IPIP, _TCP, _UDP = 4, 6, 17
_ETH_P_IP = 0x0800
_SYN, _WINDOW = 0x02, 64240
_TTL = 64
#: Source address of frames that no device ever sent: locally administered, not multicast.
_FROM = bytes.fromhex("02000000004c")


class Flow(NamedTuple):
    """The 5-tuple of a packet."""

    source: IPv4Address
    source_port: int
    dest: IPv4Address
    dest_port: int
    protocol: Protocol


class Outer(NamedTuple):
    """An IPIP header around a packet."""

    source: IPv4Address
    dest: IPv4Address


class Parsed(NamedTuple):
    """A frame taken apart; ``sound``: lengths and all checksums (of the outer header too) are right."""

    flow: Flow
    outer: Outer | None
    ttl: int
    sound: bool


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(flow: Flow, to: bytes) -> bytes:
    """A frame for the link-layer address ``to``: a TCP SYN, or an empty UDP datagram."""
    ports = struct.pack("!HH", flow.source_port, flow.dest_port)
    if flow.protocol is Protocol.TCP:
        transport = bytearray(ports + struct.pack("!IIBBHHH", 0, 0, 5 << 4, _SYN, _WINDOW, 0, 0))
        at = 16
    else:
        transport = bytearray(ports + struct.pack("!HH", 8, 0))
        at = 6
    struct.pack_into("!H", transport, at, _transport_sum(flow, bytes(transport)) or 0xFFFF)
    header = bytearray(
        struct.pack("!BBHHHBBH", 0x45, 0, _IPV4 + len(transport), 0, 0x4000, _TTL, flow.protocol.number, 0)
        + flow.source.packed
        + flow.dest.packed
    )
    struct.pack_into("!H", header, 10, checksum(bytes(header)))
    return to + _FROM + struct.pack("!H", _ETH_P_IP) + bytes(header) + bytes(transport)


def parse(frame: bytes) -> Parsed | None:
    """Take apart what :func:`build` made and the program rewrote; None if it is nothing of the kind."""
    outer, at, sound = None, _ETHERNET, True
    if len(frame) < at + _IPV4 or frame[12:14] != b"\x08\x00":
        return None
    if frame[at + 9] == _IPIP:
        header = frame[at : at + _IPV4]
        outer = Outer(IPv4Address(header[12:16]), IPv4Address(header[16:20]))
        sound = checksum(header) == 0 and int.from_bytes(header[2:4], "big") == len(frame) - at
        at += _IPV4
    header, transport = frame[at : at + _IPV4], frame[at + _IPV4 :]
    if len(header) < _IPV4 or header[9] not in (_TCP, _UDP) or len(transport) < 8:
        return None
    protocol = Protocol.TCP if header[9] == _TCP else Protocol.UDP
    source_port, dest_port = struct.unpack_from("!HH", transport)
    flow = Flow(IPv4Address(header[12:16]), source_port, IPv4Address(header[16:20]), dest_port, protocol)
    sound = sound and checksum(header) == 0 and int.from_bytes(header[2:4], "big") == len(frame) - at
    return Parsed(flow, outer, header[8], sound and _transport_sum(flow, transport) == 0)


def _transport_sum(flow: Flow, transport: bytes) -> int:
    pseudo = flow.source.packed + flow.dest.packed + struct.pack("!HH", flow.protocol.number, len(transport))
    return checksum(pseudo + transport)
