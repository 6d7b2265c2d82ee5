"""Between the model's values and the bytes of map entries. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from announcer.model.lb import Backend, Frontend, FrontendKey, Mode
from announcer.model.net import IPAddress, IPNetwork, Protocol
from datapath import abi, maglev

#: IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2).
_MAPPED = IPv6Network("::ffff:0:0/96")
_MAPPED_BYTES = _MAPPED.network_address.packed[:12]
#: Bits of ``set`` in ``struct lb_source_key``.
_SET_BITS = 32
#: As plain numbers: there may be hundreds of thousands of backends.
_REMOTE = int(abi.BackendFlag.USED)
_LOCAL = int(abi.BackendFlag.USED | abi.BackendFlag.LOCAL)
_GENEVE = int(abi.BackendFlag.USED | abi.BackendFlag.GENEVE)
_MODE_FLAGS = {
    Mode.DSR: abi.FrontendFlag(0),
    Mode.SNAT: abi.FrontendFlag.SNAT,
    Mode.GENEVE: abi.FrontendFlag.GENEVE,
}
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}


def refusal(frontend: Frontend) -> str:
    """Why this release cannot serve the frontend, empty if it can."""
    members = (*frontend.backends, *frontend.terminating)
    addresses = [backend.address for backend in members]
    if not {type(frontend.key.vip)}.issuperset(map(type, addresses)):
        return "a backend has an address of the other family"
    if len(members) > maglev.MAX_BACKENDS:
        return f"{len(members)} backends are more than a frontend can have ({maglev.MAX_BACKENDS})"
    if len(set(map(int, addresses))) != len(addresses):
        # The encapsulated packet carries the backend's address but not its port.
        return "two backends have the same address, which encapsulated packets could not tell apart"
    with_nodes = frontend.mode is Mode.GENEVE
    doubtful = (backend for backend in members if with_nodes or backend.node is not None)
    return next(filter(None, (_node_problem(backend, frontend) for backend in doubtful)), "")


def _node_problem(backend: Backend, frontend: Frontend) -> str:
    node = None if backend.local or frontend.mode is not Mode.GENEVE else backend.node
    if backend.node != node:
        return f"backend {backend.address} has a node, and nothing is sent there by {frontend.mode}"
    if node is None and not backend.local and frontend.mode is Mode.GENEVE:
        return f"nothing is known of the node of backend {backend.address}, to which Geneve would be sent"
    if node is not None and node.version != frontend.key.vip.version:
        return f"the node of backend {backend.address} has an address of the other family"
    return ""


def frontend_flags(frontend: Frontend) -> abi.FrontendFlag:
    """``flags`` of ``struct lb_frontend``."""
    return _flags(affinity=frontend.affinity, reject=frontend.reject, mode=frontend.mode)


@functools.cache
def _flags(*, affinity: bool, reject: bool, mode: Mode) -> abi.FrontendFlag:
    none = abi.FrontendFlag(0)
    chosen = abi.FrontendFlag.AFFINITY if affinity else none
    return chosen | _MODE_FLAGS[mode] | (abi.FrontendFlag.REJECT if reject else none)


def mode_of(flags: abi.FrontendFlag) -> Mode:
    """What :func:`frontend_flags` says of the mode."""
    return _mode_of(int(flags))


@functools.cache
def _mode_of(flags: int) -> Mode:
    return next((mode for mode, flag in _MODE_FLAGS.items() if flags & flag), Mode.DSR)


def address_bytes(address: IPAddress) -> bytes:
    """``struct lb_address``."""
    return address.packed if address.version == 6 else _MAPPED_BYTES + address.packed


def decode_address(data: bytes) -> IPAddress:
    """The family follows from the prefix: no VIP or pod has a mapped address of its own."""
    return IPv4Address(data[12:]) if data[:12] == _MAPPED_BYTES else IPv6Address(data)


def port_bytes(port: int) -> bytes:
    """Network order."""
    return port.to_bytes(2, "big")


@functools.lru_cache(maxsize=16)  # asked for several times while a frontend is programmed
def frontend_key(key: FrontendKey) -> bytes:
    """``struct lb_frontend_key``."""
    return abi.FRONTEND_KEY.pack(address_bytes(key.vip), port_bytes(key.port), key.protocol.number)


def decode_frontend_key(data: bytes) -> FrontendKey:
    """Raises ``KeyError`` for a protocol that we never write."""
    vip, port, protocol = abi.FRONTEND_KEY.unpack(data)
    return FrontendKey(decode_address(vip), _PROTOCOLS[protocol], int.from_bytes(port, "big"))


def backend_entry(backend: Backend, source: IPAddress | None) -> bytes:
    """The part of ``struct lb_backend`` that is ours; ``source``: outer source address towards a remote one.

    The generation is 0: what it is only the map knows. The address of its node is not in it: see :func:`node_entry`.
    """
    return abi.BACKEND.pack(
        address_bytes(backend.address),
        source_bytes(source),
        0,
        port_bytes(backend.port),
        _LOCAL if backend.local else _REMOTE if backend.node is None else _GENEVE,
    )


def source_bytes(source: IPAddress | None) -> bytes:
    """The outer source address in it; None: there is no route."""
    return address_bytes(source) if source else abi.NO_ADDRESS


def node_entry(backend: Backend) -> bytes:
    """What ``lb_nodes`` has to say of it."""
    return address_bytes(backend.node) if backend.node is not None else abi.NO_ADDRESS


def decode_backend_entry(data: bytes, node: bytes) -> tuple[Backend, IPAddress | None] | None:
    """None for an entry that is not in use. ``node``: :func:`node_entry`, looked at if the entry says so."""
    address, source, _, port, flags = abi.BACKEND.unpack(data)
    if not flags & _REMOTE:
        return None
    backend = Backend(
        decode_address(address),
        int.from_bytes(port, "big"),
        flags & _LOCAL == _LOCAL,
        decode_address(node) if flags & _GENEVE == _GENEVE else None,
    )
    return backend, decode_source(source)


@functools.lru_cache(maxsize=16)
def decode_source(data: bytes) -> IPAddress | None:
    """What :func:`source_bytes` made; all backends have one of few."""
    return None if data == abi.NO_ADDRESS else decode_address(data)


def guard_key(prefix: IPNetwork) -> bytes:
    """``struct lb_guard_key``."""
    length = prefix.prefixlen + (_MAPPED.prefixlen if prefix.version == 4 else 0)
    return abi.GUARD_KEY.pack(length, address_bytes(prefix.network_address))


def decode_guard_key(data: bytes) -> IPNetwork:
    """Bits behind the length mean nothing, in the map as in the result."""
    return _network(*abi.GUARD_KEY.unpack(data))


def source_entry(number: int, prefix: IPNetwork) -> tuple[bytes, bytes]:
    """``struct lb_source_key`` and its value: a prefix of this set."""
    length, address = abi.GUARD_KEY.unpack(guard_key(prefix))
    return abi.SOURCE_KEY.pack(_SET_BITS + length, number, address), abi.SOURCE.pack(_SET_BITS + length)


@functools.lru_cache(maxsize=65536)
def decode_source_key(data: bytes) -> tuple[int, IPNetwork]:
    """Set and prefix."""
    length, number, address = abi.SOURCE_KEY.unpack(data)
    return number, _network(length - _SET_BITS, address)


def _network(length: int, address: bytes) -> IPNetwork:
    if length >= _MAPPED.prefixlen and address[:12] == _MAPPED_BYTES:
        return IPv4Network((address[12:], length - _MAPPED.prefixlen), strict=False)
    return IPv6Network((address, length), strict=False)


def decap_entries(frontend: Frontend) -> dict[bytes, bytes]:
    """``struct lb_decap_key`` to ``struct lb_decap``: what other nodes may send to endpoints of this frontend here."""
    key, members = frontend.key, (*frontend.backends, *frontend.terminating, *frontend.for_others)
    return decap_entries_of(frontend_key(key), members)


def decap_entries_of(frontend: bytes, members: Iterable[Backend]) -> dict[bytes, bytes]:
    """The same for those of ``members`` that are local; ``frontend``: ``struct lb_frontend_key``, which ends them."""
    return {
        address_bytes(backend.address) + frontend: abi.DECAP.pack(port_bytes(backend.port))
        for backend in members
        if backend.local
    }


def decap_backend(data: bytes, value: bytes) -> Backend:
    """The backend on this node that an entry is for."""
    address, *_ = abi.DECAP_KEY.unpack(data)
    (port,) = abi.DECAP.unpack(value)
    return Backend(decode_address(address), int.from_bytes(port, "big"), True)


def decap_frontend(data: bytes) -> bytes:
    """The ``struct lb_frontend_key`` of the frontend that a decapsulation entry belongs to."""
    _, vip, port, protocol = abi.DECAP_KEY.unpack(data)  # what stands in the padding is no matter
    return abi.FRONTEND_KEY.pack(vip, port, protocol)
