"""Who holds which address, and who may come to hold it as well."""

from __future__ import annotations

from collections.abc import Callable

from announcer.config.types import AddressRange, Config, Pool
from announcer.ipam.wishes import Wish, share_refusal
from announcer.model.net import IPAddress


def _nobody(_: IPAddress) -> str:
    return ""


class Holders:
    """Who holds which address, and how many addresses of each range are left.

    ``reserved`` says of an address whose it is outside the world of Services (a node's), or nothing.
    """

    def __init__(self, config: Config, reserved: Callable[[IPAddress], str] = _nobody) -> None:
        self.config = config
        self._reserved = reserved
        self._by_address: dict[IPAddress, list[Wish]] = {}
        self._by_group: dict[str, dict[IPAddress, None]] = {}
        self._left = {item: _usable(pool, item) for pool in config.pools for item in pool.ranges}
        self._peers: dict[IPAddress, str] = {}
        for peer in config.peers:
            if peer.address not in self._peers:
                self._use_up(peer.address)
            self._peers[peer.address] = peer.name

    def add(self, address: IPAddress, wish: Wish) -> None:
        """From now on the Service of ``wish`` holds ``address``."""
        if not self.is_held(address):
            self._use_up(address)
        self._by_address.setdefault(address, []).append(wish)
        if wish.group:
            self._by_group.setdefault(wish.group, {})[address] = None

    def is_held(self, address: IPAddress) -> bool:
        """True if a Service or a peer has this address."""
        return address in self._by_address or address in self._peers

    def has_services(self, address: IPAddress) -> bool:
        """True if at least one Service has it."""
        return address in self._by_address

    def is_taken(self, address: IPAddress) -> bool:
        """True if nobody may have it, or only by sharing. (An address that its pool avoids counts as taken.)"""
        pool = self.config.pool_of(address)
        return self.is_held(address) or pool is None or not pool.allows(address) or bool(self._reserved(address))

    def left(self, item: AddressRange) -> int:
        """How many addresses of a range may still be given to a Service that shares with nobody."""
        return self._left[item]

    def of_group(self, group: str, item: AddressRange) -> list[IPAddress]:
        """Addresses of a range that Services with this sharing key hold, in order."""
        return sorted(address for address in self._by_group.get(group, ()) if item.contains(address))

    def refusal(self, address: IPAddress, wish: Wish) -> str:
        """Why the Service of ``wish`` may not have ``address``; empty if it may."""
        if address in self._peers:
            return f"{address} is the address of the peer {self._peers[address]}"
        owner = self._reserved(address)
        if owner:
            return f"{address} {owner}"
        for other in self._by_address.get(address, ()):
            refusal = share_refusal(wish, other)
            if other.key != wish.key and refusal:
                return f"{address} belongs to the Service {other.key}; {refusal}"
        return ""

    def _use_up(self, address: IPAddress) -> None:
        pool = self.config.pool_of(address)
        if pool is not None and pool.allows(address):
            self._left[next(item for item in pool.ranges if item.contains(address))] -= 1


def _usable(pool: Pool, item: AddressRange) -> int:
    """How many addresses of a range the pool may give."""
    if not pool.avoid_buggy_ips or item.first.version != 4:
        return item.size
    first, last = int(item.first), int(item.last)
    # How many of 0..n end in .0, and how many in .255, less those below the range.
    zeros = (last // 256 + 1) - ((first - 1) // 256 + 1)
    ends = (last + 1) // 256 - first // 256
    return item.size - zeros - ends
