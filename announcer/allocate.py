"""LB IPAM where no cluster does it: which Service of a folder has which address. Pure.

Every node computes this for itself from the same folder and must come to the same answer, so nothing is remembered and
no chance is involved: the answer depends on the configuration and the Services alone, not on their order. So that
coming and going of one Service leaves the others alone, the place of a Service in a pool follows from a hash of its
name (the idea of rendezvous hashing, Thaler and Ravishankar 1996): it asks for the same addresses in the same order
whatever else is there, and moves only if an older Service comes to want the very address that it has, or leaves one
free that it wanted more. Whoever wants an address for certain writes ``spec.loadBalancerIP``.

Order: addresses that ``status`` already holds, then those that are requested, then the rest; older Services first,
then by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from announcer.config.types import AddressRange, Config, Pool
from announcer.model.desired import Reason
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey, Service

#: Annotations of the dialect: the pool that a Service wants, and the group with which it shares an address.
POOL_ANNOTATION = "metallb.universe.tf/address-pool"
SHARE_ANNOTATION = "metallb.universe.tf/allow-shared-ip"

#: Addresses that are tried by hash before the range is searched one by one.
_PROBES = 64


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """What one Service got: ``addresses`` from ``pool``, or none and the reason.

    ``pool`` is empty if an address of ``status`` is in no pool: that is shown, and refused elsewhere.
    """

    addresses: tuple[IPAddress, ...] = ()
    pool: str = ""
    reason: Reason | None = None
    detail: str = ""


def allocate(config: Config, services: Sequence[Service]) -> dict[ObjectKey, Allocation]:
    """Addresses for all Services of type LoadBalancer (without a class of their own) in ``services``."""
    ours = [item for item in services if item.type == "LoadBalancer" and not item.load_balancer_class]
    ours.sort(key=lambda item: (item.creation_timestamp, item.key))
    holders = _Holders(config)
    found: dict[ObjectKey, Allocation] = {}
    for item in services:
        for address in item.ingress:
            holders.add(address, item)
    for item in ours:
        if item.ingress:
            pool = config.pool_of(item.ingress[0])
            found[item.key] = Allocation(addresses=item.ingress, pool=pool.name if pool else "")
    for item in ours:
        if item.requested and not item.ingress:
            found[item.key] = _requested(config, item, holders)
    for item in ours:
        if item.key not in found:
            found[item.key] = _automatic(config, item, holders)
    return found


class _Holders:
    """Who holds which address, and how many addresses of each range are left."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._services: dict[IPAddress, list[Service]] = {}
        self._groups: dict[str, list[IPAddress]] = {}
        self._left = {item: _usable(pool, item) for pool in config.pools for item in pool.ranges}
        self._peers: dict[IPAddress, str] = {}
        for peer in config.peers:
            if peer.address not in self._peers:
                self._use_up(peer.address)
            self._peers[peer.address] = peer.name

    def add(self, address: IPAddress, service: Service) -> None:
        if address not in self._services and address not in self._peers:
            self._use_up(address)
        self._services.setdefault(address, []).append(service)
        self._groups.setdefault(_group(service), []).append(address)

    def candidates(self, item: AddressRange, service: Service) -> Iterator[IPAddress]:
        """The addresses of a range that ``service`` should try, in its order. Of a full one: those of its group."""
        group = _group(service)
        if self._left[item] > 0:
            # Services that may share an address start from the same hash, and so meet there.
            yield from _preferences(item, f"share {group}" if group else f"service {service.key}")
        elif group:
            yield from sorted({one for one in self._groups.get(group, ()) if item.contains(one)})

    def _use_up(self, address: IPAddress) -> None:
        pool = self._config.pool_of(address)
        if pool is not None and pool.allows(address):
            self._left[next(item for item in pool.ranges if item.contains(address))] -= 1

    def refusal(self, address: IPAddress, service: Service) -> str:
        """Why ``service`` may not have ``address``; empty if it may."""
        if address in self._peers:
            return f"{address} is the address of the peer {self._peers[address]}"
        for other in self._services.get(address, ()):
            refusal = _share_refusal(service, other)
            if refusal:
                return f"{address} belongs to the Service {other.key}; {refusal}"
        return ""


def _group(service: Service) -> str:
    return service.annotations.get(SHARE_ANNOTATION, "")


def _usable(pool: Pool, item: AddressRange) -> int:
    """How many addresses of a range the pool may give."""
    if not pool.avoid_buggy_ips or item.first.version != 4:
        return item.size
    first, last = int(item.first), int(item.last)
    # How many of 0..n end in .0, and how many in .255, less those below the range.
    zeros = (last // 256 + 1) - ((first - 1) // 256 + 1)
    ends = (last + 1) // 256 - first // 256
    return item.size - zeros - ends


def _share_refusal(service: Service, other: Service) -> str:
    """Why the two may not share an address: the same group is needed, and no port twice."""
    group = _group(service)
    if not group or group != _group(other):
        return f"to share it, give both the same annotation {SHARE_ANNOTATION}"
    taken = {(port.protocol, port.port) for port in other.ports}
    twice = [port for port in service.ports if (port.protocol, port.port) in taken]
    return f"both have the port {twice[0].port}/{twice[0].protocol}" if twice else ""


def _requested(config: Config, service: Service, holders: _Holders) -> Allocation:
    """The addresses of ``spec.loadBalancerIP``, all or none."""
    wanted = service.annotations.get(POOL_ANNOTATION, "")
    names: list[str] = []
    for address in service.requested:
        pool = config.pool_of(address)
        if pool is None:
            return _refused(Reason.IP_NOT_ALLOWED, f"the requested {address} is in no pool of the bgp-config")
        if wanted and pool.name != wanted:
            detail = f'the requested {address} is in the pool "{pool.name}", but {POOL_ANNOTATION} says "{wanted}"'
            return _refused(Reason.IP_NOT_ALLOWED, detail)
        if not pool.allows(address):
            detail = f'the pool "{pool.name}" avoids addresses that end in .0 or .255, such as the requested {address}'
            return _refused(Reason.IP_NOT_ALLOWED, detail)
        refusal = holders.refusal(address, service)
        if refusal:
            return _refused(Reason.NO_IP_ALLOCATED, f"requested, but {refusal}")
        names.append(pool.name)
    for address in service.requested:
        holders.add(address, service)
    return Allocation(addresses=service.requested, pool=names[0])


def _automatic(config: Config, service: Service, holders: _Holders) -> Allocation:
    """One address of each family that the Service has, from the pool that it names or else from all automatic ones."""
    wanted = service.annotations.get(POOL_ANNOTATION, "")
    pools = [pool for pool in config.pools if (pool.name == wanted if wanted else pool.auto_assign)]
    if not pools:
        return _refused(Reason.NO_IP_ALLOCATED, _no_pool(config, wanted))
    # Without a cluster IP nothing says which family is wanted: IPv4 then, if these pools have any.
    versions = {item.first.version for pool in pools for item in pool.ranges}
    families = dict.fromkeys(address.version for address in service.cluster_ips) or {min(versions): None}
    addresses: list[IPAddress] = []
    names: list[str] = []
    for version in families:
        pool, address = _first_free(pools, version, service, holders)
        if pool is not None and address is not None:
            addresses.append(address)
            names.append(pool.name)
            holders.add(address, service)
    if addresses:
        return Allocation(addresses=tuple(addresses), pool=names[0])
    kinds = " or ".join(f"IPv{version}" for version in families)
    where = ", ".join(f'"{pool.name}"' for pool in pools)
    return _refused(Reason.NO_IP_ALLOCATED, f"no {kinds} address is free in the pool {where}")


def _no_pool(config: Config, wanted: str) -> str:
    if not wanted:
        return "no pool has auto-assign" if config.pools else "the bgp-config has no address-pools"
    names = ", ".join(f'"{pool.name}"' for pool in config.pools) or "none"
    return f'there is no pool "{wanted}", which {POOL_ANNOTATION} asks for; pools: {names}'


def _first_free(
    pools: Sequence[Pool], version: int, service: Service, holders: _Holders
) -> tuple[Pool, IPAddress] | tuple[None, None]:
    for pool in pools:
        for item in pool.ranges:
            if item.first.version != version:
                continue
            for address in holders.candidates(item, service):
                if pool.allows(address) and not holders.refusal(address, service):
                    return pool, address
    return None, None


def _preferences(item: AddressRange, seed: str) -> Iterator[IPAddress]:
    """All addresses of a range in an order that only ``seed`` decides: some scattered ones, then one after the other.

    The scattered ones keep two Services apart whose first choices are neighbors; one after the other makes sure that a
    free address is found, after at most as many steps as there are addresses that are taken.
    """
    family = type(item.first)
    base, size = int(item.first), item.size
    starts = [_hash(f"{seed} {probe}") % size for probe in range(min(_PROBES, size))]
    yield from (family(base + start) for start in starts)
    yield from (family(base + (starts[0] + step) % size) for step in range(size))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())


def _refused(reason: Reason, detail: str) -> Allocation:
    return Allocation(reason=reason, detail=detail)
