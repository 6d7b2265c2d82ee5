"""The hash of ``bpf/lb_flow.h`` in Python: which slot a flow falls into. Pure.

Needed to aim a synthetic packet at a given backend, and to say beforehand where a flow will go.
"""

from __future__ import annotations

from ipaddress import IPv4Address

_MASK = (1 << 64) - 1


def flow_hash(source: IPv4Address, source_port: int, dest: IPv4Address, dest_port: int, protocol: int) -> int:
    """32 bits. ``protocol`` is the IANA number. The constants are those of splitmix64."""
    near = (int(dest) << 32) | (dest_port << 8) | protocol
    far = (int(source) << 32) | source_port
    value = (far + near * 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value >> 32


def slot(value: int, length: int) -> int:
    """The slot of a row of ``length`` slots that this hash falls into."""
    return (value * length) >> 32
