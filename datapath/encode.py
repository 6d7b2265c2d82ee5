"""Between the model's values and the bytes of map entries. Pure."""

from __future__ import annotations

import functools
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import IPAddress, IPNetwork, Protocol
from datapath import abi, maglev

#: IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2).
_MAPPED = IPv6Network("::ffff:0:0/96")
_PROTOCOLS = {Protocol.TCP.number: Protocol.TCP, Protocol.UDP.number: Protocol.UDP}


def refusal(frontend: Frontend) -> str:
    """Why this release cannot serve the frontend, empty if it can."""
    key = frontend.key
    if key.vip.version != 4 or any(backend.address.version != 4 for backend in frontend.backends):
        return "only IPv4 is served"
    if key.protocol not in _PROTOCOLS.values():
        return f"{key.protocol} is not served, only TCP and UDP"
    if len(frontend.backends) > maglev.MAX_BACKENDS:
        return f"{len(frontend.backends)} backends are more than a frontend can have ({maglev.MAX_BACKENDS})"
    addresses = [backend.address for backend in frontend.backends]
    if len(set(addresses)) != len(addresses):
        # The encapsulated packet carries the backend's address but not its port.
        return "two backends have the same address, which encapsulated packets could not tell apart"
    return ""


def port_bytes(port: int) -> bytes:
    """Network order."""
    return port.to_bytes(2, "big")


def frontend_key(key: FrontendKey) -> bytes:
    """``struct lb_frontend_key``."""
    return abi.FRONTEND_KEY.pack(key.vip.packed, port_bytes(key.port), key.protocol.number)


def decode_frontend_key(data: bytes) -> FrontendKey:
    """Raises ``KeyError`` for a protocol that we never write."""
    vip, port, protocol = abi.FRONTEND_KEY.unpack(data)
    return FrontendKey(IPv4Address(vip), _PROTOCOLS[protocol], int.from_bytes(port, "big"))


def backend_entry(backend: Backend, source: IPv4Address | None) -> bytes:
    """``struct lb_backend``; ``source``: outer source address towards a remote one."""
    flags = abi.BackendFlag.USED | (abi.BackendFlag.LOCAL if backend.local else 0)
    return abi.BACKEND.pack(
        backend.address.packed, port_bytes(backend.port), flags, source.packed if source else abi.NO_ADDRESS
    )


@functools.lru_cache(maxsize=65536)
def decode_backend_entry(data: bytes) -> tuple[Backend, IPv4Address | None] | None:
    """None for an entry that is not in use."""
    address, port, flags, source = abi.BACKEND.unpack(data)
    if not flags & abi.BackendFlag.USED:
        return None
    local = bool(flags & abi.BackendFlag.LOCAL)
    backend = Backend(IPv4Address(address), int.from_bytes(port, "big"), local)
    return backend, IPv4Address(source) if source != abi.NO_ADDRESS else None


def guard_key(prefix: IPNetwork) -> bytes:
    """``struct lb_guard_key``."""
    if prefix.version == 6:
        return abi.GUARD_KEY.pack(prefix.prefixlen, prefix.network_address.packed)
    return abi.GUARD_KEY.pack(_MAPPED.prefixlen + prefix.prefixlen, _mapped(prefix.network_address))


def decode_guard_key(data: bytes) -> IPNetwork:
    """Bits behind the length mean nothing, in the map as in the result."""
    length, address = abi.GUARD_KEY.unpack(data)
    if length >= _MAPPED.prefixlen and address[:12] == _MAPPED.network_address.packed[:12]:
        return IPv4Network((address[12:], length - _MAPPED.prefixlen), strict=False)
    return IPv6Network((address, length), strict=False)


def _mapped(address: IPAddress) -> bytes:
    return _MAPPED.network_address.packed[:12] + address.packed


def decap_entries(frontend: Frontend) -> dict[bytes, bytes]:
    """``struct lb_decap_key`` to ``struct lb_decap``: what other nodes may send to local backends of this frontend."""
    key = frontend.key
    return {
        abi.DECAP_KEY.pack(
            backend.address.packed, key.vip.packed, port_bytes(key.port), key.protocol.number
        ): abi.DECAP.pack(port_bytes(backend.port))
        for backend in frontend.backends
        if backend.local
    }


def decap_frontend(data: bytes) -> bytes:
    """The ``struct lb_frontend_key`` of the frontend that a decapsulation entry belongs to."""
    _, vip, port, protocol = abi.DECAP_KEY.unpack(data)
    return abi.FRONTEND_KEY.pack(vip, port, protocol)
