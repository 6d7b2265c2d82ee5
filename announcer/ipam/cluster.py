"""LB IPAM of a cluster: what the status of every Service should hold, given what it holds now. Pure.

The status of the Services is the only memory, so a restart or another leader changes nothing. Three rules follow:

- An address is given only if no Service is *seen* to hold it. One that is given up here can be had by another Service
  only after the Service that had it has been seen without it, so at no instant do two have it.
- A Service keeps what it has until there is something better. One that asks for an address that is not to be had goes
  on with the old one, and is told so.
- What somebody else gave is not ours to take: an address that is in no pool and that we did not give stays, and so
  does one that would conflict. It is said, and left alone.

Order: Services that hold addresses already, those from us before others, older first; then those that name an address;
then the rest, older first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

import msgspec

from announcer.config.types import AddressRange, Config
from announcer.ipam.holders import Holders
from announcer.ipam.results import Code, Found, Refusal
from announcer.ipam.search import Order, eligible_pools, find_automatic, find_requested
from announcer.ipam.wishes import Wish, is_ours, wish_of
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey, Service


class Outcome(StrEnum):
    """What happens to the addresses of one Service."""

    KEPT = "kept"
    GIVEN = "given"
    MOVED = "moved"
    RELEASED = "released"
    REFUSED = "refused"
    FOREIGN = "foreign"


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What one Service should have: ``addresses``, where it has ``before``.

    ``pool`` is that of the first address. ``code`` and ``detail`` say why something is refused or changed; both are
    empty if all is as the Service wants it.
    """

    key: ObjectKey
    outcome: Outcome
    addresses: tuple[IPAddress, ...] = ()
    before: tuple[IPAddress, ...] = ()
    pool: str = ""
    code: Code | None = None
    detail: str = ""


def assign(
    config: Config, services: Iterable[Service], reserved: Callable[[IPAddress], str] = lambda _: ""
) -> dict[ObjectKey, Assignment]:
    """An assignment for every Service that is ours, and for those that no longer are but still hold what we gave.

    ``reserved`` says of an address in which way it belongs to something that is no Service ("is the address of the
    node n1"), or nothing. Call it with *all* Services of the cluster: those of others hold addresses too.
    """
    everyone = sorted(services, key=lambda item: (item.creation_timestamp, item.key))
    return dict(_Round(config, everyone, reserved).run())


class _Kept(msgspec.Struct, frozen=True):
    """What a Service keeps of the addresses in its status, and why it loses the others."""

    service: Service
    wish: Wish
    addresses: tuple[IPAddress, ...]
    loss: Refusal | None = None


class _Round:
    def __init__(self, config: Config, everyone: list[Service], reserved: Callable[[IPAddress], str]) -> None:
        self.config = config
        self.everyone = everyone
        self.holders = Holders(config, reserved)
        self.order = _first_free(self.holders)

    def run(self) -> Iterator[tuple[ObjectKey, Assignment]]:
        waiting: list[_Kept] = []
        wishes = {item.key: wish_of(item) for item in self.everyone}
        mine = [item for item in self.everyone if is_ours(item)]
        # Whoever has an address from us is not driven out of it by one that has it from somebody else.
        for item in sorted(mine, key=lambda item: not _is_marked(item)):
            key = item.key
            kept = None if self._is_foreign(item) else self._keep(item, wishes[key])
            if kept is not None:
                waiting.append(kept)
            else:
                yield key, self._foreign(item, wishes[key])
                self._hold(item.ingress, wishes[key])
        for item in self.everyone:
            key = item.key
            if not is_ours(item):
                self._hold(item.ingress, wishes[key])
                if _is_marked(item) and item.type != "LoadBalancer":
                    yield key, _released(item)
        # Nothing of what is given up now may be given again before it was seen to be free.
        for kept in waiting:
            self._hold(kept.service.ingress, kept.wish, but=kept.addresses)
        for kept in sorted(waiting, key=lambda kept: not kept.wish.addresses):
            yield kept.wish.key, self._decide(kept)

    def _hold(self, addresses: Iterable[IPAddress], wish: Wish, but: tuple[IPAddress, ...] = ()) -> None:
        for address in addresses:
            if address not in but:
                self.holders.add(address, wish)

    # --- what is there already -----------------------------------------------------------------------------------

    def _is_foreign(self, item: Service) -> bool:
        outside = any(self.config.pool_of(address) is None for address in item.ingress)
        return not _is_marked(item) and (outside or item.has_hostname)

    def _foreign(self, item: Service, wish: Wish) -> Assignment:
        if not self._is_foreign(item):
            refusals = (self.holders.refusal(address, wish) for address in item.ingress)
            detail = f"{next(filter(None, refusals))}. Somebody else gave it, so it is left alone"
            return _as_it_is(item, Outcome.FOREIGN, Refusal(Code.SHARING_CONFLICT, detail))
        held = ", ".join(map(str, item.ingress)) or "a host name"
        detail = f"its status holds {held}, which is in no pool and was not given by Lockstep; it is left alone"
        return _as_it_is(item, Outcome.FOREIGN, Refusal(Code.FOREIGN_ADDRESS, detail))

    def _keep(self, item: Service, wish: Wish) -> _Kept | None:
        """What the Service keeps; None if it would have to lose to another Service what we did not give."""
        kept: list[IPAddress] = []
        loss: Refusal | None = None
        for address in item.ingress:
            refusal = self._no_longer(address, wish)
            if refusal is None:
                kept.append(address)
            elif refusal.code is Code.SHARING_CONFLICT and not _is_marked(item):
                return None
            else:
                loss = loss or refusal
        self._hold(kept, wish)
        return _Kept(item, wish, tuple(kept), loss)

    def _no_longer(self, address: IPAddress, wish: Wish) -> Refusal | None:
        """Why an address that the Service holds cannot stay. Switches that say what may be *given* do not count."""
        if wish.families and address.version not in wish.families:
            return Refusal(Code.FAMILY_CHANGED, f"spec.ipFamilies no longer has the family of {address}")
        if self.config.pool_of(address) is None:
            return Refusal(Code.NOT_ALLOWED_BY_CONFIG, f"{address} is no longer in any pool of the bgp-config")
        refusal = self.holders.refusal(address, wish)
        if refusal:
            code = Code.SHARING_CONFLICT if self.holders.has_services(address) else Code.NOT_ALLOWED_BY_CONFIG
            return Refusal(code, refusal)
        return None

    # --- what is wanted ------------------------------------------------------------------------------------------

    def _decide(self, kept: _Kept) -> Assignment:
        wish = kept.wish
        if wish.problem:
            return self._settle(kept, Refusal(Code.BAD_REQUEST, wish.problem))
        if wish.addresses:
            if set(kept.addresses) == set(wish.addresses):
                return self._settle(kept, None)
            return self._settle(kept, find_requested(wish, self.holders), Code.DIFFERENT_IP_REQUESTED)
        return self._automatic(kept)

    def _automatic(self, kept: _Kept) -> Assignment:
        wish = kept.wish
        stay = tuple(address for address in kept.addresses if not wish.pool or self._pool(address) == wish.pool)
        families = wish.families or self._families(kept)
        missing = [family for family in families if family not in {address.version for address in stay}]
        if not missing and len(stay) == len(kept.addresses):
            return self._settle(kept, None)
        result = find_automatic(wish, missing, self.holders, self.order, every_family=wish.every_family)
        if isinstance(result, Refusal):
            # A second family that would be nice to have is not worth a complaint for ever.
            content = len(stay) == len(kept.addresses) > 0 and not wish.every_family
            return self._settle(kept, None if content else result)
        addresses = tuple(sorted((*stay, *result.addresses), key=lambda address: families.index(address.version)))
        return self._settle(kept, Found(addresses, self._pool(addresses[0])), Code.DIFFERENT_POOL_REQUESTED)

    def _families(self, kept: _Kept) -> tuple[int, ...]:
        """Without a cluster IP nothing says which family is wanted: what it has, or IPv4 if its pools have any."""
        pools = eligible_pools(kept.wish, self.holders)
        if kept.addresses or isinstance(pools, Refusal):
            return tuple(dict.fromkeys(address.version for address in kept.addresses)) or (4,)
        return (min(item.first.version for pool in pools for item in pool.ranges),)

    def _settle(self, kept: _Kept, result: Found | Refusal | None, change: Code | None = None) -> Assignment:
        """The assignment after a search; ``change`` is the code if the Service's own wish moves it."""
        before = kept.service.ingress
        if isinstance(result, Found):
            for address in result.addresses:
                if address not in kept.addresses:
                    self.holders.add(address, kept.wish)
            moved = bool(set(before) - set(result.addresses))
            code, detail = (kept.loss.code, kept.loss.detail) if kept.loss else (change, "")
            return Assignment(
                key=kept.wish.key,
                outcome=Outcome.MOVED if moved else Outcome.GIVEN,
                addresses=result.addresses,
                before=before,
                pool=result.pool,
                code=code if moved else None,
                detail=detail if moved else "",
            )
        because = [refusal for refusal in (kept.loss, result) if refusal is not None]
        return Assignment(
            key=kept.wish.key,
            outcome=_without_result(kept),
            addresses=kept.addresses,
            before=before,
            pool=self._pool(kept.addresses[0]) if kept.addresses else "",
            code=because[0].code if because else None,
            detail="; ".join(dict.fromkeys(refusal.detail for refusal in because)),
        )

    def _pool(self, address: IPAddress) -> str:
        pool = self.config.pool_of(address)
        return pool.name if pool is not None else ""


def _without_result(kept: _Kept) -> Outcome:
    if kept.addresses:
        return Outcome.MOVED if kept.loss else Outcome.KEPT
    return Outcome.RELEASED if kept.service.ingress else Outcome.REFUSED


def _as_it_is(service: Service, outcome: Outcome, refusal: Refusal) -> Assignment:
    return Assignment(
        key=service.key,
        outcome=outcome,
        addresses=service.ingress,
        before=service.ingress,
        code=refusal.code,
        detail=refusal.detail,
    )


def _is_marked(service: Service) -> bool:
    """True if what its status holds was given by us, or adopted."""
    return service.allocation is not None and service.allocation.status == "True"


def _released(service: Service) -> Assignment:
    return Assignment(
        key=service.key,
        outcome=Outcome.RELEASED,
        before=service.ingress,
        code=Code.NOT_LOAD_BALANCER,
        detail=f"its type is {service.type} now",
    )


def _first_free(holders: Holders) -> Order:
    """The addresses that the Service may share, then the others from the first of the range on.

    In one round addresses are only taken, never given back, so each range is walked once for all Services.
    """
    reached: dict[AddressRange, int] = {}

    def order(item: AddressRange, wish: Wish) -> Iterator[IPAddress]:
        if wish.group:
            yield from holders.of_group(wish.group, item)
        family, last = type(item.first), int(item.last)
        at = reached.get(item, int(item.first))
        while at <= last and holders.is_taken(family(at)):
            at += 1
        reached[item] = at
        yield from (family(number) for number in range(at, last + 1) if holders.left(item) > 0)

    return order
