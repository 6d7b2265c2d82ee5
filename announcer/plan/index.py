"""Desired and observed state side by side, by what the lanes ask for, kept up from one look to the next.

Whoever decides or observes gives the same objects again for what did not change. So what did change is found by
identity, in passes over dictionaries that run at the speed of C, and only that is indexed anew. Hashing an address is
Python code: that is why nothing here looks up one by one what it can compare side by side.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from announcer.model.bgp import PeerObserved, PeerState, RibEntry
from announcer.model.changes import changed
from announcer.model.desired import Desired, DesiredRoute
from announcer.model.lb import FrontendKey, Proof
from announcer.model.net import Family, IPAddress, IPNetwork, around
from announcer.model.observed import Observed

K = TypeVar("K")

#: One prefix towards one peer.
PeerRoute = tuple[str, IPNetwork]

#: When a proof was made, and of which VIP; the numbers make an order of those made at the same time.
_Age = tuple[float, int, int, IPAddress]


class Side:
    """One peer: what it should hold and what it holds.

    ``unconditional``: wishes that need no proof. ``aggregates``: wishes that may cover addresses that are no VIP.
    ``unsent``: wishes that were not sent, or otherwise. ``strays``: what it holds or may, and nothing wishes for.
    """

    def __init__(self) -> None:
        """Nothing is wished for and nothing is held."""
        self.wishes: Mapping[IPNetwork, DesiredRoute] = {}
        self.rib: Mapping[IPNetwork, RibEntry] = {}
        self.unconditional: set[IPNetwork] = set()
        self.aggregates: set[IPNetwork] = set()
        self.unsent: set[IPNetwork] = set()
        self.strays: set[IPNetwork] = set()

    def settle(self, nlri: IPNetwork) -> None:
        """Say anew what there is to say of one prefix."""
        wish, entry = self.wishes.get(nlri), self.rib.get(nlri)
        _keep(self.unconditional, nlri, wish is not None and not wish.vips)
        _keep(self.aggregates, nlri, wish is not None and wish.is_aggregate)
        _keep(self.unsent, nlri, wish is not None and not _is_sent(entry, wish))
        _keep(self.strays, nlri, wish is None and entry is not None and not entry.withdrawing)


class Index:
    """See the module. What it is asked for are values of the last call of :meth:`follow`.

    ``wanted`` and ``present`` are the keys of the frontends of each VIP, desired and in the kernel, in tuples: a table
    for each of thousands of VIPs would be megabytes. ``wished``: the routes of each VIP that some peer should hold.
    ``lengths``: how many routes of each prefix length all peers together hold.
    ``served``: VIPs that should be; ``unproven``: those of them without a good proof. ``sides``: by peer.
    """

    def __init__(self) -> None:
        """Nothing is desired and nothing is there."""
        self._desired = Desired(revision=0, synced=False)
        self._observed = Observed()
        self.wanted: dict[IPAddress, tuple[FrontendKey, ...]] = {}
        self.present: dict[IPAddress, tuple[FrontendKey, ...]] = {}
        self.wished: dict[IPAddress, tuple[PeerRoute, ...]] = {}
        self.lengths: Counter[tuple[int, int]] = Counter()
        self.served: set[IPAddress] = set()
        self.unproven: set[IPAddress] = set()
        self.sides: dict[str, Side] = {}
        self._ages: list[_Age] = []

    def fits(self, desired: Desired, observed: Observed) -> bool:
        """False if something differs that is about all VIPs: then begin anew, since every lane may be another."""
        return _frame(self._desired, self._observed) == _frame(desired, observed) and (
            self._desired.shed is desired.shed or (not self._desired.shed and not desired.shed)
        )

    def follow(self, desired: Desired, observed: Observed) -> set[IPAddress]:
        """Take these in. Returns the VIPs of whose inputs anything is another object than before."""
        touched = self._astray()
        touched.update(self._follow_decision(desired))
        touched.update(self._follow_routes(desired, observed))
        touched.update(self._follow_datapath(observed))
        touched.update(self._follow_proofs(observed))
        touched.update(changed(self._observed.draining, observed.draining))
        touched.update(changed(self._observed.shedding, observed.shedding))
        if desired.drain is not None and observed.last_arrival != self._observed.last_arrival:
            touched.update(self.present)
        self._desired, self._observed = desired, observed
        touched.update(self._astray())
        return touched

    def knows(self, vip: IPAddress) -> bool:
        """There is anything to say of it."""
        return vip in self.wanted or vip in self.present or vip in self._desired.vips

    def vips(self) -> set[IPAddress]:
        """Every VIP of which there is anything to say."""
        return {*self.wanted, *self.present, *self._desired.vips}

    def aggregates(self) -> frozenset[IPNetwork]:
        """What is wished for some peer and may cover addresses that are no VIP."""
        return frozenset[IPNetwork]().union(*(side.aggregates for side in self.sides.values()))

    def strays(self) -> list[PeerRoute]:
        """What some peer holds or may, and nothing wishes for; nearly always nothing."""
        found = [(name, nlri) for name, side in self.sides.items() for nlri in side.strays]
        return sorted(found, key=lambda route: (route[0], route[1].version, route[1])) if found else found

    def unreplaced(self) -> frozenset[PeerRoute]:
        """Strays that bring packets for a VIP of which that peer has not been sent everything yet that it should have.

        To give the announcement to the engine first is not enough: of what ExaBGP holds at one time, it sends the
        withdrawals before the announcements, and the router would be without a route for a moment.
        """
        return frozenset(
            (name, nlri)
            for name, side in self.sides.items()
            if side.strays
            for nlri in _unreplaced(side, self._observed.bgp.peers.get(name))
        )

    def oldest(self, count: int, before: float) -> Iterator[IPAddress]:
        """At most ``count`` served VIPs whose proof was made at ``before`` (CLOCK_MONOTONIC seconds) or earlier."""
        for at, _, _, vip in self._ages[:count]:
            if at <= before:
                yield vip

    def cover(self, prefixes: set[IPNetwork]) -> set[IPNetwork]:
        """Those of ``prefixes`` in which there is a VIP."""
        return {nlri for _, nlri in self._within(prefixes)}

    # --- following ------------------------------------------------------------------------------------------------

    def _follow_decision(self, desired: Desired) -> Iterator[IPAddress]:
        for key in changed(self._desired.frontends, desired.frontends):
            _put(self.wanted, key.vip, key, there=key in desired.frontends)
            yield key.vip
        for vip in changed(self._desired.vips, desired.vips):
            decision, proof = desired.vips.get(vip), self._observed.proofs.get(vip)
            self._serve(vip, proof, now=decision is not None and decision.reason is None)
            yield vip

    def _follow_datapath(self, observed: Observed) -> Iterator[IPAddress]:
        before, after = self._observed.datapath, observed.datapath
        for key in changed(before.frontends, after.frontends):
            _put(self.present, key.vip, key, there=key in after.frontends)
            yield key.vip
        if before.damaged is not after.damaged:
            yield from (key.vip for key in (*before.damaged, *after.damaged))

    def _follow_proofs(self, observed: Observed) -> Iterator[IPAddress]:
        over, made = list[_Age](), list[_Age]()
        for vip in changed(self._observed.proofs, observed.proofs):
            before, after = self._observed.proofs.get(vip), observed.proofs.get(vip)
            if vip in self.served:
                over += _age(vip, before)
                made += _age(vip, after)
                _keep(self.unproven, vip, after is None or not after.ok)
            if before is None or after is None or not (before.ok and after.ok):
                yield vip  # a good proof that was made anew changes nothing but its age
        self._reorder(over, made)

    def _serve(self, vip: IPAddress, proof: Proof | None, *, now: bool) -> None:
        """It is one that should be served now, or is not."""
        if now is not (vip in self.served):
            known = _age(vip, proof)
            self._reorder([] if now else known, known if now else [])
        _keep(self.served, vip, now)
        _keep(self.unproven, vip, now and (proof is None or not proof.ok))

    def _reorder(self, over: list[_Age], made: list[_Age]) -> None:
        """Nearly always these are the oldest, and become the youngest: then all of them are moved at once."""
        over.sort()
        made.sort()
        if self._ages[: len(over)] == over:
            del self._ages[: len(over)]
        else:
            for age in over:
                del self._ages[bisect_left(self._ages, age)]
        if made and self._ages and made[0] < self._ages[-1]:
            for age in made:
                insort(self._ages, age)
        else:
            self._ages += made

    def _follow_routes(self, desired: Desired, observed: Observed) -> Iterator[IPAddress]:
        nobody: dict[IPNetwork, Any] = {}
        shorter: set[IPNetwork] = set()
        for name in {*self._desired.rib, *desired.rib, *self._observed.bgp.peers, *observed.bgp.peers}:
            side = self.sides.setdefault(name, Side())
            old_wishes, old_rib = side.wishes, side.rib
            side.wishes = desired.rib.get(name, nobody)
            peer = observed.bgp.peers.get(name)
            side.rib = peer.rib if peer is not None else nobody
            for nlri in changed(old_wishes, side.wishes):
                yield from self._wish(name, nlri, old_wishes.get(nlri), side.wishes.get(nlri))
                side.settle(nlri)
                if nlri.prefixlen < nlri.max_prefixlen:
                    shorter.add(nlri)  # it may bring packets for VIPs that do not stand behind it
            for nlri in changed(old_rib, side.rib):
                self.lengths[nlri.version, nlri.prefixlen] += (nlri in side.rib) - (nlri in old_rib)
                side.settle(nlri)
                if nlri.prefixlen == nlri.max_prefixlen:
                    yield nlri.network_address
                else:
                    shorter.add(nlri)
        yield from (vip for vip, _ in self._within(shorter))

    def _wish(
        self, name: str, nlri: IPNetwork, before: DesiredRoute | None, after: DesiredRoute | None
    ) -> Iterator[IPAddress]:
        old = set(before.vips) if before is not None else set()
        new = set(after.vips) if after is not None else set()
        for vip in old ^ new:
            _put(self.wished, vip, (name, nlri), there=vip in new)
        yield from old | new

    def _astray(self) -> set[IPAddress]:
        """VIPs that a route brings packets for that nothing wishes for."""
        return {vip for vip, _ in self._within({nlri for side in self.sides.values() for nlri in side.strays})}

    def _within(self, prefixes: set[IPNetwork]) -> Iterator[tuple[IPAddress, IPNetwork]]:
        """Each VIP inside one of these, with it."""
        return _inside(self.vips(), prefixes) if prefixes else iter(())


def _frame(desired: Desired, observed: Observed) -> tuple[Any, ...]:
    """What is about all VIPs."""
    bgp, datapath = observed.bgp, observed.datapath
    peers = [
        (name, peer.neighbor, peer.state, peer.down_since, peer.session, peer.end_of_rib, tuple(peer.unusable))
        for name, peer in bgp.peers.items()
    ]
    decided = (desired.synced, desired.complete, desired.neighbors, desired.drain)
    return (*decided, datapath.attached, datapath.guards, bgp.reachable, peers)


def _unreplaced(side: Side, peer: PeerObserved | None) -> Iterator[IPNetwork]:
    if peer is None or peer.state is not PeerState.ESTABLISHED:
        return
    # Whether the old route was sent does not matter: if it was not, it may be at any moment.
    old = {nlri for nlri in side.strays if Family.of(nlri) not in peer.unusable}
    waiting = {vip for nlri in side.unsent for vip in side.wishes[nlri].vips} if old else ()
    yield from (nlri for _, nlri in _inside(waiting, old))


def _inside(vips: Iterable[IPAddress], prefixes: set[IPNetwork]) -> Iterator[tuple[IPAddress, IPNetwork]]:
    """Each of ``vips`` that is inside one of ``prefixes``, with it."""
    lengths = {(nlri.version, nlri.prefixlen) for nlri in prefixes}
    for vip in vips:
        yield from ((vip, nlri) for nlri in around(vip, lengths) if nlri in prefixes)


def _age(vip: IPAddress, proof: Proof | None) -> list[_Age]:
    """Of this proof; empty if there is none."""
    return [] if proof is None else [(proof.at, vip.version, int(vip), vip)]


def _is_sent(entry: RibEntry | None, wish: DesiredRoute) -> bool:
    return entry is not None and entry.sent and not entry.withdrawing and entry.route == wish.route


def _keep(values: set[K], value: K, there: bool) -> None:
    (values.add if there else values.discard)(value)


def _put(by_vip: dict[IPAddress, tuple[K, ...]], vip: IPAddress, value: K, *, there: bool) -> None:
    values = by_vip.get(vip, ())
    if there and value not in values:
        by_vip[vip] = (*values, value)
    elif not there and value in values:
        rest = tuple(other for other in values if other != value)
        if rest:
            by_vip[vip] = rest
        else:
            del by_vip[vip]
