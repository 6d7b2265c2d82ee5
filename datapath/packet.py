"""Synthetic packets, and what became of them. Pure: bytes in, bytes out."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from announcer.model.net import IPAddress, Protocol
from datapath import abi

_ETHERNET, _IPV4, _IPV6 = 14, 20, 40
_TAG, _TAG_KINDS = 4, (b"\x81\x00", b"\x88\xa8")
_IPIP, _TCP, _UDP, _IP6IP6, _SCTP = 4, 6, 17, 41, 132
_SYN, _WINDOW = 0x02, 64240
_INIT = 1
_TTL = 64
#: Source address of frames that no device ever sent: locally administered, not multicast.
_FROM = bytes.fromhex("02000000004c")
_CRC32C = 0x82F63B78
#: Where the checksum stands that RFC 1071 is for; and what UDP says instead of 0, which TCP never has to say.
_SUM_AT = {Protocol.TCP: 16, Protocol.UDP: 6}
_NO_SUM = 0xFFFF
#: UDP, Geneve, and its option without the address that this holds: bpf/lb_geneve.h.
_GENEVE = struct.Struct("!HHHHBBHIHBB")
_GENEVE_CRITICAL, _OPTION_HEADER = 0x40, 4


class Flow(NamedTuple):
    """The 5-tuple of a packet; both addresses are of one family."""

    source: IPAddress
    source_port: int
    dest: IPAddress
    dest_port: int
    protocol: Protocol


class Encapsulation(StrEnum):
    """What a packet is inside of."""

    IPIP = "ipip"
    GENEVE = "geneve"


class Outer(NamedTuple):
    """The IP header around a packet. ``backend``: the one that Geneve (``bpf/lb_geneve.h``) names; None: IP in IP."""

    source: IPAddress
    dest: IPAddress
    backend: IPAddress | None = None

    @property
    def kind(self) -> Encapsulation:
        """Which of the two."""
        return Encapsulation.IPIP if self.backend is None else Encapsulation.GENEVE


class Parsed(NamedTuple):
    """A frame taken apart; ``sound``: lengths and all checksums (of the outer header too) are right."""

    flow: Flow
    outer: Outer | None
    ttl: int
    sound: bool


class _Header(NamedTuple):
    source: IPAddress
    dest: IPAddress
    protocol: int
    ttl: int
    length: int
    sound: bool


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def crc32c(data: bytes) -> int:
    """RFC 9260 appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CRC32C if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def build(flow: Flow, to: bytes, tags: Sequence[int] = (), ttl: int = _TTL) -> bytes:
    """A frame for the link-layer address ``to``: a TCP SYN, an empty UDP datagram, or an SCTP INIT.

    ``tags``: VLAN ids (802.1Q), outer one first.
    """
    link = to + _FROM + b"".join(_TAG_KINDS[0] + struct.pack("!H", tag) for tag in tags)
    ports = struct.pack("!HH", flow.source_port, flow.dest_port)
    match flow.protocol:
        case Protocol.TCP:
            transport = bytearray(ports + struct.pack("!IIBBHHH", 0, 0, 5 << 4, _SYN, _WINDOW, 0, 0))
            struct.pack_into("!H", transport, 16, _transport_sum(flow, bytes(transport)))
        case Protocol.UDP:
            transport = bytearray(ports + struct.pack("!HH", 8, 0))
            struct.pack_into("!H", transport, 6, _transport_sum(flow, bytes(transport)) or _NO_SUM)
        case Protocol.SCTP:
            transport = bytearray(ports + bytes(8) + struct.pack("!BBHIIHHI", _INIT, 0, 20, 1, _WINDOW, 1, 1, 1))
            struct.pack_into("<I", transport, 8, crc32c(bytes(transport)))
    source, dest = flow.source.packed, flow.dest.packed
    if flow.dest.version == 6:
        header = struct.pack("!IHBB", 6 << 28, len(transport), flow.protocol.number, ttl) + source + dest
        return link + b"\x86\xdd" + header + bytes(transport)
    fixed = struct.pack("!BBHHHBBH", 0x45, 0, _IPV4 + len(transport), 0, 0x4000, ttl, flow.protocol.number, 0)
    packed = bytearray(fixed + source + dest)
    struct.pack_into("!H", packed, 10, checksum(bytes(packed)))
    return link + b"\x08\x00" + bytes(packed) + bytes(transport)


def can_vary(flow: Flow) -> bool:
    """True if :func:`varied` can do it."""
    return flow.protocol in _SUM_AT


class Template(NamedTuple):
    """A frame from port 0, and where in it its source port and its checksum stand."""

    frame: bytes
    port_at: int
    sum_at: int


def template(flow: Flow, to: bytes, tags: Sequence[int] = (), ttl: int = _TTL) -> Template:
    """What frames like that of :func:`build` have in common, whatever their source port."""
    at = _ETHERNET + _TAG * len(tags) + (_IPV4 if flow.dest.version == 4 else _IPV6)
    return Template(build(flow._replace(source_port=0), to, tags, ttl), at, at + _SUM_AT[flow.protocol])


def varied(flow: Flow, ports: Iterable[int], to: bytes, tags: Sequence[int] = (), ttl: int = _TTL) -> Iterator[bytes]:
    """What :func:`build` makes of the flow, from each of these source ports instead of its own."""
    base, at, sum_at = template(flow, to, tags, ttl)
    before, between, after = base[:at], base[at + 2 : sum_at], base[sum_at + 2 :]
    rest = ~int.from_bytes(base[sum_at : sum_at + 2], "big") & 0xFFFF
    for port in ports:
        total = rest + port
        total = ~(total + (total >> 16)) & 0xFFFF
        yield b"%b%b%b%b%b" % (before, port.to_bytes(2, "big"), between, (total or _NO_SUM).to_bytes(2, "big"), after)


def same_client(flows: Sequence[Flow]) -> bool:
    """True if they differ in nothing but the client's port. False may be wrong: addresses have to be the same objects,
    which is quickly seen."""
    first = flows[0]
    return all(
        (each[0] is first[0] and each[2] is first[2] and each[3] == first[3] and each[4] is first[4]) for each in flows
    )


def build_all(flows: Sequence[Flow], to: bytes, tags: Sequence[int] = (), ttl: int = _TTL) -> list[bytes]:
    """What :func:`build` makes of each."""
    if flows and can_vary(flows[0]) and same_client(flows):
        return list(varied(flows[0], [flow.source_port for flow in flows], to, tags, ttl))
    return [build(flow, to, tags, ttl) for flow in flows]


def forwarded(flows: Sequence[Flow]) -> list[bytes]:
    """Each as it is inside of what a router encapsulates: without link header, and with one hop less to go."""
    return [frame[_ETHERNET:] for frame in build_all(flows, bytes(6), (), _TTL - 1)]


def carries(frame: bytes, inner: bytes, dest: IPAddress) -> bool:
    """True if this is the packet ``inner`` in IP in IP to ``dest``, right to the last byte, in a frame without a tag.

    What :func:`parse` would say then is known without taking it apart. False says nothing.
    """
    at = len(frame) - len(inner)
    header, kind = frame[_ETHERNET:at], frame[12:_ETHERNET]
    if frame[at:] != inner:
        return False
    if dest.version == 4:
        return (
            (kind, len(header), header[:1], header[9:10]) == (b"\x08\x00", _IPV4, b"\x45", bytes([_IPIP]))
            and header[16:] == dest.packed
            and int.from_bytes(header[2:4], "big") == _IPV4 + len(inner)
            and checksum(header) == 0
        )
    return (
        (kind, len(header), header[:1], header[6:7]) == (b"\x86\xdd", _IPV6, b"\x60", bytes([_IP6IP6]))
        and header[24:] == dest.packed
        and int.from_bytes(header[4:6], "big") == len(inner)
    )


def parse(frame: bytes) -> Parsed | None:
    """Take apart what :func:`build` made and the program rewrote; None if it is nothing of the kind."""
    while frame[12:14] in _TAG_KINDS:
        frame = frame[:12] + frame[12 + _TAG :]
    at, outer, sound = _ETHERNET, None, True
    header = _header(frame, at)
    if header is None:
        return None
    if header.protocol in (_IPIP, _IP6IP6):
        outer, sound = Outer(header.source, header.dest), header.sound
        at += header.length
        header = _header(frame, at)
    elif backend := _named_by_geneve(frame, header, at + header.length):
        outer, sound = Outer(header.source, header.dest, backend), header.sound
        at += header.length + _GENEVE.size + len(backend.packed)
        header = _header(frame, at)
    if header is None or header.protocol not in (_TCP, _UDP, _SCTP):
        return None
    transport = frame[at + header.length :]
    if len(transport) < 8:
        return None
    protocol = next(each for each in Protocol if each.number == header.protocol)
    source_port, dest_port = struct.unpack_from("!HH", transport)
    flow = Flow(header.source, source_port, header.dest, dest_port, protocol)
    return Parsed(flow, outer, header.ttl, sound and header.sound and _sound(flow, transport))


def _named_by_geneve(frame: bytes, outer: _Header, at: int) -> IPAddress | None:
    """The backend, if Geneve of ours begins there, right in all that is not the flow's."""
    size = len(outer.dest.packed)
    if outer.protocol != _UDP or len(frame) < at + _GENEVE.size + size:
        return None
    _, *rest = _GENEVE.unpack_from(frame, at)
    wanted = [abi.GENEVE_PORT, len(frame) - at, 0, (_OPTION_HEADER + size) // 4, _GENEVE_CRITICAL]
    wanted += [int.from_bytes(frame[12:14], "big"), abi.GENEVE_VNI << 8, abi.GENEVE_CLASS, abi.GENEVE_TYPE, size // 4]
    address = frame[at + _GENEVE.size : at + _GENEVE.size + size]
    return type(outer.dest)(address) if rest == wanted else None


def _header(frame: bytes, at: int) -> _Header | None:
    """The IP header there. ``length``: of the header."""
    kind, rest = frame[12:14], len(frame) - at
    if kind == b"\x08\x00" and rest >= _IPV4:
        data = frame[at : at + _IPV4]
        sound = checksum(data) == 0 and int.from_bytes(data[2:4], "big") == rest
        return _Header(IPv4Address(data[12:16]), IPv4Address(data[16:20]), data[9], data[8], _IPV4, sound)
    if kind == b"\x86\xdd" and rest >= _IPV6:
        data = frame[at : at + _IPV6]
        sound = data[0] >> 4 == 6 and int.from_bytes(data[4:6], "big") == rest - _IPV6
        return _Header(IPv6Address(data[8:24]), IPv6Address(data[24:40]), data[6], data[7], _IPV6, sound)
    return None


def _sound(flow: Flow, transport: bytes) -> bool:
    if flow.protocol is Protocol.SCTP:
        return crc32c(transport[:8] + bytes(4) + transport[12:]) == int.from_bytes(transport[8:12], "little")
    return _transport_sum(flow, transport) == 0


def _transport_sum(flow: Flow, transport: bytes) -> int:
    """With the pseudo-header of RFC 9293 or RFC 8200 section 8.1, which sum up alike."""
    pseudo = flow.source.packed + flow.dest.packed + struct.pack("!HH", flow.protocol.number, len(transport))
    return checksum(pseudo + transport)
