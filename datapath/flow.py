"""The hash of ``bpf/lb_flow.h`` in Python: which slot a flow falls into. Pure.

Needed to aim a synthetic packet at a given backend, and to say beforehand where a flow will go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from announcer.model.net import IPAddress

_MASK = (1 << 64) - 1


def flow_hash(source: IPAddress, source_port: int, dest: IPAddress, dest_port: int, protocol: int) -> int:
    """32 bits. ``protocol`` is the IANA number; ``source_port`` 0 for a frontend with client affinity."""
    return next(flow_hashes(source, (source_port,), dest, dest_port, protocol))


def flow_hashes(
    source: IPAddress, source_ports: Iterable[int], dest: IPAddress, dest_port: int, protocol: int
) -> Iterator[int]:
    """The same of several ports."""
    base = hash_base(source, dest, dest_port, protocol)
    for port in source_ports:
        value = (base + port) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        yield value >> 32


def hash_base(source: IPAddress, dest: IPAddress, dest_port: int, protocol: int) -> int:
    """What all but the source port adds to the number, of 64 bits, that is mixed then.

    The constants are those of splitmix64, and of murmur3 for the halves of IPv6 addresses.
    """
    service = (dest_port << 8) | protocol
    if dest.version == 4:
        near, far = (int(dest) << 32) | service, int(source) << 32
    else:
        near, far = _word(dest) + service, _word(source) * 0xC4CEB9FE1A85EC53
    return (far + near * 0x9E3779B97F4A7C15) & _MASK


def _word(address: IPAddress) -> int:
    high, low = int(address) >> 64, int(address) & _MASK
    return (low + high * 0xFF51AFD7ED558CCD) & _MASK


def slot(value: int, bits: int) -> int:
    """The slot of a row of ``1 << bits`` slots that this hash falls into."""
    return (value << bits) >> 32
