"""Devices on top of others (``bpf/lb_stacked.h``): VLAN devices, and bonds over their ports.

Programs see frames as they are on the wire: on a card with the tags of the VLAN devices above it, on the port of a bond
what is for the bond. Routes and addresses are those of the device on top, so the programs are told which one that is,
and how a frame has to look that leaves by a VLAN device.

A tag that a VLAN device has and hands to a bridge is not for this node, and stays unknown.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from announcer.model.errors import TargetError
from datapath import abi, sieve
from datapath.maps import HashMap, Maps
from datapath.notices import Notices
from datapath.rtnl import Rtnl, Vlan

#: Ids of two tags, outer one first; 0: none.
Tags = tuple[int, int]
UNTAGGED: Tags = (0, 0)
#: Not for this node but for who is behind them.
_HANDED_ON = frozenset({"bridge", "openvswitch"})
_SIOCETHTOOL, _ETHTOOL_GFLAGS, _ETH_FLAG_RXVLAN = 0x8946, 0x25, 1 << 8


class Arrival(NamedTuple):
    """Where frames for a device on top come in, and with which tags."""

    below: int
    tags: Tags


def arrivals(vlans: Iterable[Vlan], ports: Mapping[int, int]) -> dict[Arrival, int]:
    """The device (ifindex) that gets what arrives so. ``ports``: of bonds, by ifindex, and the bond of each."""
    ours = [vlan for vlan in vlans if vlan.number]  # id 0 is a tag of priority alone
    found: dict[Arrival, int] = {}
    for outer in ours:
        if outer.port_of not in _HANDED_ON:
            found[Arrival(outer.below, (outer.number, 0))] = outer.ifindex
        for inner in ours:
            if inner.below == outer.ifindex and inner.port_of not in _HANDED_ON:
                found[Arrival(outer.below, (outer.number, inner.number))] = inner.ifindex
    for port, bond in ports.items():
        found |= {Arrival(port, arrival.tags): device for arrival, device in found.items() if arrival.below == bond}
        found[Arrival(port, UNTAGGED)] = bond
    return found


def ways(vlans: Iterable[Vlan]) -> dict[int, tuple[int, tuple[Vlan, ...]]]:
    """By VLAN device: the device below it that is none, and whose tags a frame needs there, outer one first.

    More than two tags are too many: the programs would not understand the answer.
    """
    known = {vlan.ifindex: vlan for vlan in vlans}
    found: dict[int, tuple[int, tuple[Vlan, ...]]] = {}
    for vlan in known.values():
        tags: tuple[Vlan, ...] = (vlan,)
        while tags[0].below in known and len(tags) <= len(UNTAGGED):
            tags = (known[tags[0].below], *tags)
        if len(tags) <= len(UNTAGGED):
            found[vlan.ifindex] = (tags[0].below, tags)
    return found


class Stacked:
    """Keeps the programs' maps as the devices of this network namespace are."""

    def __init__(self, maps: Maps, rtnl: Rtnl, notices: Notices) -> None:
        """Raises ``TargetError``."""
        self._maps = maps
        self._rtnl = rtnl
        self._notices = notices
        self._generation = -1
        self._vlans: list[Vlan] = []
        self._ports: dict[int, int] = {}
        self.follow()

    def follow(self) -> None:
        """Look at the devices if any has changed, and set the maps right. Raises ``TargetError``: a map is full, ..."""
        generation = self._notices.generation()
        if generation != self._generation:
            self._vlans, self._ports = self._rtnl.vlans(), self._rtnl.bond_ports()
            self._generation = generation
        seen_as = {
            abi.VLAN_KEY.pack(arrival.below, *arrival.tags): abi.VLAN.pack(device)
            for arrival, device in arrivals(self._vlans, self._ports).items()
        }
        leave_by = {abi.VLAN.pack(device): _way(below, tags) for device, (below, tags) in ways(self._vlans).items()}
        wishes = ((self._maps.vlans, seen_as), (self._maps.vlan_ways, leave_by))
        outdated = [(found, _fill(found, wanted)) for found, wanted in wishes]
        sieve.unstacked(self._maps.sieve, none=not seen_as and not leave_by)
        for found, keys in outdated:
            for key in keys:
                found.remove(key)

    def tagged(self, device: int) -> list[Arrival]:
        """Where frames with tags come in that are for this device. A bond stands for its ports."""
        found = arrivals(self._vlans, {})
        return [arrival for arrival, above in found.items() if above == device]

    def blind(self, below: int) -> str:
        """Why the program of this device cannot see tags, empty if it can."""
        ports = [port for port, bond in self._ports.items() if bond == below] or [below]
        for port in ports:
            link = self._rtnl.link(port)
            if link is not None and strips_tags(link.name):
                return (
                    f"{link.name} takes VLAN tags off before the program of the device sees them; "
                    f"`ethtool -K {link.name} rxvlan off` leaves them on"
                )
        return ""


def strips_tags(name: str) -> bool:
    """Whether a device keeps the tag of a received frame beside the frame (``rx-vlan-offload``, ETHTOOL_GFLAGS)."""
    value = array.array("B", struct.pack("=II", _ETHTOOL_GFLAGS, 0))
    request = struct.pack("16sP", name.encode(), value.buffer_info()[0]).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            fcntl.ioctl(asked, _SIOCETHTOOL, request)
        except OSError as error:
            raise TargetError(f"ethtool flags of {name}", errno=error.errno or 0) from error
    return bool(struct.unpack_from("=I", value, 4)[0] & _ETH_FLAG_RXVLAN)


def _way(below: int, tags: tuple[Vlan, ...]) -> bytes:
    kinds, numbers = [tag.kind for tag in tags], [tag.number for tag in tags]
    missing = [0] * (len(UNTAGGED) - len(tags))
    return abi.VLAN_WAY.pack(below, struct.pack("!2H", *kinds, *missing), struct.pack("!2H", *numbers, *missing))


def _fill(found: HashMap, wanted: dict[bytes, bytes]) -> set[bytes]:
    """Put in what is wanted. Returns the keys of what is not."""
    there = found.dump()
    for key, value in wanted.items():
        if there.get(key) != value:
            found.put(key, value)
    return there.keys() - wanted.keys()
