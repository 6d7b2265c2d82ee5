"""Addresses, prefixes and transport protocols.

Addresses are values of the standard library's ``ipaddress``: they compare, sort and print as operators expect,
and an invalid one cannot exist.
"""

from __future__ import annotations

import abc
import functools
import ipaddress
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    IPAddress = IPv4Address | IPv6Address
    IPNetwork = IPv4Network | IPv6Network
else:
    # msgspec decodes at most one foreign type in a union, so at run time each of the two is one abstract type
    # that both families are registered with. ``model.codec`` builds the right one from its text.
    class IPAddress(abc.ABC):  # noqa: B024
        """An IPv4 or an IPv6 address."""

    class IPNetwork(abc.ABC):  # noqa: B024
        """An IPv4 or an IPv6 prefix."""

    for _family in (IPv4Address, IPv6Address):
        IPAddress.register(_family)
    for _family in (IPv4Network, IPv6Network):
        IPNetwork.register(_family)


class Family(StrEnum):
    """An address family (AFI) with SAFI unicast, as the bgp-config and people spell it."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"

    @staticmethod
    def of(thing: IPAddress | IPNetwork) -> Family:
        """The family of an address or a prefix."""
        return Family.IPV4 if thing.version == 4 else Family.IPV6

    @property
    def label(self) -> str:
        """As it is written in running text."""
        return "IPv4" if self is Family.IPV4 else "IPv6"


class Protocol(StrEnum):
    """A transport protocol as Kubernetes spells it (``Service.spec.ports[].protocol``)."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def number(self) -> int:
        """The IANA protocol number that stands in the IP header."""
        return _PROTOCOL_NUMBERS[self]


_PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


@functools.lru_cache(maxsize=1 << 16)  # asked over and over for the same few, and slow in the making
def host_prefix(address: IPAddress) -> IPNetwork:
    """The prefix that holds just this address: /32 or /128."""
    prefix = ipaddress.ip_network(address)
    # The standard library makes an address and a function for each such prefix, two thirds of the memory that it takes.
    # Nobody asks one for its hosts.
    prefix.network_address = address
    object.__delattr__(prefix, "hosts")
    return prefix


def aggregate(address: IPAddress, length: int) -> IPNetwork:
    """The prefix of ``length`` bits around ``address``: for all addresses in it the same value."""
    spare = address.max_prefixlen - length
    return _prefix(address.version, int(address) >> spare << spare, length) if spare else host_prefix(address)


def around(address: IPAddress, lengths: Iterable[tuple[int, int]]) -> list[IPNetwork]:
    """The prefixes around ``address`` of all ``lengths`` (IP version and prefix length) that are of its family.

    There are few lengths and may be thousands of prefixes: so those that an address is in are looked up, not searched.
    """
    return [aggregate(address, length) for version, length in lengths if version == address.version]


def by_number(address: IPAddress) -> tuple[int, int]:
    """Sorts addresses as they sort themselves, IPv4 first, and faster."""
    return address.version, int(address)


@functools.lru_cache(maxsize=1 << 12)
def _prefix(version: int, base: int, length: int) -> IPNetwork:
    return IPv4Network((base, length)) if version == 4 else IPv6Network((base, length))


def parse_prefix(text: str) -> IPNetwork:
    """The prefix that is written so. Raises ``ValueError`` as ``ip_network`` does. Of one address: the same value."""
    host, _, length = text.partition("/")
    if length == ("128" if ":" in host else "32"):
        return host_prefix(ipaddress.ip_address(host))
    return ipaddress.ip_network(text)
