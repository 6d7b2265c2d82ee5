"""Looking for an address that a Service may have: the ones it names, or any of its pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from announcer.config.types import AddressRange, Pool
from announcer.ipam.holders import Holders
from announcer.ipam.results import Code, Found, Refusal
from announcer.ipam.wishes import Wish
from announcer.model.net import IPAddress

#: The addresses of a range that a Service should try, in its order.
Order = Callable[[AddressRange, Wish], Iterator[IPAddress]]


def find_requested(wish: Wish, holders: Holders) -> Found | Refusal:
    """The addresses that the Service names, all or none."""
    pools: list[Pool] = []
    for address in wish.addresses:
        pool = holders.config.pool_of(address)
        if pool is None:
            return Refusal(Code.IP_NOT_ALLOWED, f"the requested {address} is in no pool of the bgp-config")
        refusal = _not_from(pool, address, wish)
        if refusal:
            return Refusal(Code.IP_NOT_ALLOWED, refusal)
        refusal = holders.refusal(address, wish)
        if refusal:
            return Refusal(Code.ADDRESS_IN_USE, f"requested, but {refusal}")
        pools.append(pool)
    return Found(wish.addresses, pools[0].name)


def find_automatic(
    wish: Wish, families: Sequence[int], holders: Holders, order: Order, *, every_family: bool
) -> Found | Refusal:
    """One address of each family, from the pool that the Service names or else from all automatic ones.

    Without ``every_family`` one family is better than none.
    """
    pools = eligible_pools(wish, holders)
    if isinstance(pools, Refusal):
        return pools
    found: list[tuple[Pool, IPAddress]] = []
    missing: list[int] = []
    for family in families:
        hit = _first_free(pools, family, wish, holders, order)
        if hit is None:
            missing.append(family)
        else:
            found.append(hit)
    if not found or (missing and every_family):
        kinds = " or ".join(f"IPv{family}" for family in missing)
        where = ", ".join(f'"{pool.name}"' for pool in pools)
        return Refusal(Code.POOL_EXHAUSTED, f"no {kinds} address is free in the pool {where}")
    return Found(tuple(address for _, address in found), found[0][0].name)


def eligible_pools(wish: Wish, holders: Holders) -> tuple[Pool, ...] | Refusal:
    """The pools from which the Service may be given an address that it did not name."""
    pools = holders.config.pools
    chosen = tuple(pool for pool in pools if (pool.name == wish.pool if wish.pool else pool.auto_assign))
    if chosen:
        return chosen
    if not wish.pool:
        return Refusal(Code.NO_POOL, "no pool has auto-assign" if pools else "the bgp-config has no address-pools")
    known = ", ".join(f'"{pool.name}"' for pool in pools) or "none"
    detail = f'there is no pool "{wish.pool}", which {wish.pool_annotation} asks for; pools: {known}'
    return Refusal(Code.NO_SUCH_POOL, detail)


def _not_from(pool: Pool, address: IPAddress, wish: Wish) -> str:
    if wish.pool and pool.name != wish.pool:
        return f'the requested {address} is in the pool "{pool.name}", but {wish.pool_annotation} says "{wish.pool}"'
    if not pool.allows(address):
        return f'the pool "{pool.name}" avoids addresses that end in .0 or .255, such as the requested {address}'
    if wish.families and address.version not in wish.families:
        return f"the requested {address} is IPv{address.version}, which spec.ipFamilies does not have"
    return ""


def _first_free(
    pools: Sequence[Pool], family: int, wish: Wish, holders: Holders, order: Order
) -> tuple[Pool, IPAddress] | None:
    for pool in pools:
        for item in pool.ranges:
            if item.first.version != family:
                continue
            for address in order(item, wish):
                if pool.allows(address) and not holders.refusal(address, wish):
                    return pool, address
    return None
