"""Desired and observed state side by side, indexed by what the lanes ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from announcer.model.bgp import Neighbor, PeerObserved, PeerState, RibEntry
from announcer.model.desired import Desired, DesiredRoute
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import Family, IPAddress, IPNetwork, aggregate
from announcer.model.observed import Observed
from announcer.plan.damping import held_until, hold_time
from announcer.plan.settings import PlanSettings

#: One prefix towards one peer.
PeerRoute = tuple[str, IPNetwork]


@dataclass(frozen=True)
class View:
    """What the lanes look at.

    ``wanted`` and ``present`` are the frontends of each VIP, desired and in the kernel. ``wished``: the routes of each
    VIP that some peer should hold. ``aggregates``: what is wished for some peer and may cover addresses that are no
    VIP. ``unreplaced``: what a peer holds or may, nothing wishes for any more, and brings packets for a VIP of which
    that peer has not been sent everything yet that it should have. ``strays``: what a peer holds or may, and nothing
    wishes for; nearly always nothing, and then no VIP's lane has to look for any.
    """

    desired: Desired
    observed: Observed
    now: float
    settings: PlanSettings
    wanted: dict[IPAddress, dict[FrontendKey, Frontend]]
    present: dict[IPAddress, dict[FrontendKey, Frontend]]
    wished: dict[IPAddress, list[PeerRoute]]
    lengths: frozenset[tuple[int, int]]
    renewals: frozenset[IPAddress]
    aggregates: frozenset[IPNetwork]
    unreplaced: frozenset[PeerRoute]
    strays: tuple[PeerRoute, ...]

    @staticmethod
    def of(desired: Desired, observed: Observed, now: float, settings: PlanSettings) -> View:
        """Index both sides once for all lanes."""
        lengths = {(nlri.version, nlri.prefixlen) for peer in observed.bgp.peers.values() for nlri in peer.rib}
        return View(
            desired=desired,
            observed=observed,
            now=now,
            settings=settings,
            wanted=_by_vip(desired.frontends),
            present=_by_vip(observed.datapath.frontends),
            wished=_wished(desired),
            lengths=frozenset(lengths),
            renewals=_renewals(observed, now, settings),
            aggregates=_aggregates(desired),
            unreplaced=frozenset(_unreplaced(desired, observed)),
            strays=tuple(_strays(desired, observed)),
        )

    def peers(self) -> dict[str, PeerObserved]:
        """Peers of which something is known. Empty while the speaker is away."""
        return self.observed.bgp.peers if self.observed.bgp.reachable else {}

    def entry(self, route: PeerRoute) -> RibEntry | None:
        """What is known of one prefix towards one peer."""
        peer = self.observed.bgp.peers.get(route[0])
        return peer.rib.get(route[1]) if peer is not None else None

    def wish(self, route: PeerRoute) -> DesiredRoute | None:
        """What should be told to one peer about one prefix."""
        return self.desired.rib.get(route[0], {}).get(route[1])

    def covering(self, vip: IPAddress) -> list[PeerRoute]:
        """Every (peer, prefix) in an Adj-RIB-Out that brings packets for ``vip`` here, withdrawn ones included.

        Asked by prefix length, so that it costs the number of lengths in use, not the number of routes.
        """
        prefixes = [aggregate(vip, length) for version, length in sorted(self.lengths) if version == vip.version]
        peers = self.observed.bgp.peers
        return [(name, nlri) for name in sorted(peers) for nlri in prefixes if nlri in peers[name].rib]

    def unguarded(self, nlri: IPNetwork) -> bool:
        """An aggregate of which unassigned addresses would not be dropped: not to be announced yet."""
        return nlri in self.aggregates and nlri not in self.observed.datapath.guards

    def proven(self, vip: IPAddress) -> bool:
        """The last proof was good."""
        proof = self.observed.proofs.get(vip)
        return proof is not None and proof.ok

    def proof_is_old(self, vip: IPAddress) -> bool:
        """The last proof was made too long ago to announce anything on its strength."""
        proof = self.observed.proofs.get(vip)
        return proof is None or self.now - proof.at >= self.settings.proof_interval

    @property
    def quiet(self) -> bool:
        """No packet has come for a VIP for a while."""
        last = self.observed.last_arrival
        return last is not None and self.now - last >= self.settings.quiet

    def held(self, vip: IPAddress) -> bool:
        """Its proof has come and gone too often lately and has not held for long enough, if it holds at all."""
        found = self.observed.damping.get(vip)
        if found is None:
            return False
        until = held_until(self.observed, vip, self.settings)
        if until is None:  # a proof that succeeds in this very round has held for no time
            return hold_time(found.flaps, self.settings) > 0
        return until > self.now

    def failing_for(self, vip: IPAddress) -> float | None:
        """For how many seconds proofs of ``vip`` have failed; None if the last was good or none was made."""
        proof = self.observed.proofs.get(vip)
        return None if proof is None or proof.ok else self.now - proof.since

    def may_be_stale(self, neighbor: Neighbor) -> bool:
        """The peer may hold routes of ours that we have no record of, and send packets along them.

        A peer that lost us without a word (a partition) believes in the session for up to its hold time (RFC 4271
        section 6.5). A graceful-restart helper keeps what an earlier session brought until the restart time has passed
        or End-of-RIB arrives (RFC 4724 section 4.2). A speaker that was restarted meanwhile knows nothing of either, so
        that it saw no session yet says nothing.
        """
        peer = self.peers().get(neighbor.name)
        helper = neighbor.graceful_restart is not None
        if peer is None:
            return True
        if peer.state is PeerState.ESTABLISHED:
            return helper and peer.end_of_rib != peer.session
        # One after the other: a helper begins to count when it notices the loss.
        kept = (neighbor.graceful_restart or 0) + neighbor.hold_time
        return peer.down_since is None or self.now < peer.down_since + kept


def _renewals(observed: Observed, now: float, settings: PlanSettings) -> frozenset[IPAddress]:
    """Good proofs that are due to be made anew in this round: the oldest ones, no more than the settings allow."""
    due = [(proof.at, vip) for vip, proof in observed.proofs.items() if now - proof.at >= settings.proof_interval]
    if len(due) > settings.renewals:
        due = sorted(due, key=lambda item: item[0])[: settings.renewals]
    return frozenset(vip for _, vip in due)


def _strays(desired: Desired, observed: Observed) -> Iterator[PeerRoute]:
    for name, peer in sorted(observed.bgp.peers.items()):
        wishes = desired.rib.get(name, {})
        yield from ((name, nlri) for nlri, entry in peer.rib.items() if not entry.withdrawing and nlri not in wishes)


def _aggregates(desired: Desired) -> frozenset[IPNetwork]:
    return frozenset(nlri for rib in desired.rib.values() for nlri, wish in rib.items() if wish.is_aggregate)


def _unreplaced(desired: Desired, observed: Observed) -> Iterator[PeerRoute]:
    """Routes whose withdrawal has to wait for an announcement.

    To give the announcement to the engine first is not enough: of what ExaBGP holds at one time, it sends the
    withdrawals before the announcements, and the router would be without a route for a moment. Costs one pass over what
    differs.
    """
    for name, peer in observed.bgp.peers.items():
        if peer.state is not PeerState.ESTABLISHED:
            continue
        # Whether the old route was sent does not matter: if it was not, it may be at any moment.
        wishes = desired.rib.get(name, {})
        old = {
            nlri
            for nlri, entry in peer.rib.items()
            if nlri not in wishes and not entry.withdrawing and Family.of(nlri) not in peer.unusable
        }
        lengths = {(nlri.version, nlri.prefixlen) for nlri in old}
        unsent = [wish for nlri, wish in wishes.items() if not _is_sent(peer.rib.get(nlri), wish)] if old else []
        for vip in {vip for wish in unsent for vip in wish.vips}:
            prefixes = (aggregate(vip, length) for version, length in lengths if version == vip.version)
            yield from ((name, nlri) for nlri in prefixes if nlri in old)


def _wished(desired: Desired) -> dict[IPAddress, list[PeerRoute]]:
    found: dict[IPAddress, list[PeerRoute]] = {}
    for name in sorted(desired.rib):
        for nlri, wish in desired.rib[name].items():
            for vip in wish.vips:
                found.setdefault(vip, []).append((name, nlri))
    return found


def _is_sent(entry: RibEntry | None, wish: DesiredRoute) -> bool:
    return entry is not None and entry.sent and not entry.withdrawing and entry.route == wish.route


def _by_vip(frontends: dict[FrontendKey, Frontend]) -> dict[IPAddress, dict[FrontendKey, Frontend]]:
    found: dict[IPAddress, dict[FrontendKey, Frontend]] = {}
    for key, frontend in frontends.items():
        found.setdefault(key.vip, {})[key] = frontend
    return found
