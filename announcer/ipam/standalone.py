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

from announcer.config.types import AddressRange, Config
from announcer.ipam.holders import Holders
from announcer.ipam.results import Code, Found, Refusal
from announcer.ipam.search import Order, eligible_pools, find_automatic, find_requested
from announcer.ipam.wishes import Wish, is_ours, wish_of
from announcer.model.desired import Reason
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey, Service

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
    """Addresses for all Services of type LoadBalancer (of our class or none) in ``services``."""
    ours = sorted((item for item in services if is_ours(item)), key=lambda item: (item.creation_timestamp, item.key))
    wishes = {item.key: wish_of(item) for item in services}
    holders = Holders(config)
    found: dict[ObjectKey, Allocation] = {}
    for item in services:
        for address in item.ingress:
            holders.add(address, wishes[item.key])
    for item in ours:
        if item.ingress:
            pool = config.pool_of(item.ingress[0])
            found[item.key] = Allocation(addresses=item.ingress, pool=pool.name if pool else "")
    waiting = [wishes[item.key] for item in ours if not item.ingress]
    # Those who know what they want go first; sorting is stable, so age and name decide among them.
    for wish in sorted(waiting, key=lambda wish: not wish.addresses):
        found[wish.key] = _give(wish, holders)
    return found


def _give(wish: Wish, holders: Holders) -> Allocation:
    result = _search(wish, holders)
    if isinstance(result, Refusal):
        return Allocation(reason=result.code.reason, detail=result.detail)
    for address in result.addresses:
        holders.add(address, wish)
    return Allocation(addresses=result.addresses, pool=result.pool)


def _search(wish: Wish, holders: Holders) -> Found | Refusal:
    if wish.problem:
        return Refusal(Code.BAD_REQUEST, wish.problem)
    if wish.addresses:
        return find_requested(wish, holders)
    pools = eligible_pools(wish, holders)
    if isinstance(pools, Refusal):
        return pools
    # Without a cluster IP nothing says which family is wanted: IPv4 then, if these pools have any.
    families = wish.families or (min(item.first.version for pool in pools for item in pool.ranges),)
    return find_automatic(wish, families, holders, _by_hash(holders), every_family=wish.every_family)


def _by_hash(holders: Holders) -> Order:
    def order(item: AddressRange, wish: Wish) -> Iterator[IPAddress]:
        if holders.left(item) > 0:
            # Services that may share an address start from the same hash, and so meet there.
            yield from _preferences(item, f"share {wish.group}" if wish.group else f"service {wish.key}")
        elif wish.group:
            yield from holders.of_group(wish.group, item)

    return order


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
