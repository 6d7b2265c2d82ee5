"""Desired and observed state side by side, as the lanes ask for them."""

from __future__ import annotations

from dataclasses import dataclass

from announcer.model.bgp import Neighbor, PeerObserved, PeerState, RibEntry
from announcer.model.desired import Desired, DesiredRoute
from announcer.model.lb import Frontend, FrontendKey
from announcer.model.net import IPAddress, IPNetwork, around
from announcer.model.observed import Observed
from announcer.plan.damping import held_until, hold_time
from announcer.plan.index import Index, PeerRoute
from announcer.plan.settings import PlanSettings


@dataclass(frozen=True)
class View:
    """What the lanes look at.

    ``renewals``: VIPs whose good proof is to be made anew in this round. ``aggregates``: what is wished for some peer
    and may cover addresses that are no VIP. ``strays``: what a peer holds or may, and nothing wishes for.
    ``unreplaced``: those of them that have to wait for an announcement.
    """

    desired: Desired
    observed: Observed
    now: float
    settings: PlanSettings
    index: Index
    renewals: frozenset[IPAddress]
    aggregates: frozenset[IPNetwork]
    strays: tuple[PeerRoute, ...]
    unreplaced: frozenset[PeerRoute]

    @staticmethod
    def of(desired: Desired, observed: Observed, now: float, settings: PlanSettings) -> View:
        """From scratch."""
        index = Index()
        index.follow(desired, observed)
        return View.through(index, desired, observed, now, settings)

    @staticmethod
    def through(index: Index, desired: Desired, observed: Observed, now: float, settings: PlanSettings) -> View:
        """Of what ``index`` has followed."""
        return View(
            desired=desired,
            observed=observed,
            now=now,
            settings=settings,
            index=index,
            # Oldest first: with very many VIPs proofs get older, rather than events waiting for them.
            renewals=frozenset(index.oldest(settings.renewals, now - settings.proof_interval)),
            aggregates=index.aggregates(),
            strays=tuple(index.strays()),
            unreplaced=index.unreplaced(),
        )

    def wanted(self, vip: IPAddress) -> dict[FrontendKey, Frontend]:
        """The frontends of ``vip`` that should be."""
        return {key: self.desired.frontends[key] for key in self.index.wanted.get(vip, ())}

    def present(self, vip: IPAddress) -> dict[FrontendKey, Frontend]:
        """The frontends of ``vip`` in the kernel."""
        return {key: self.observed.datapath.frontends[key] for key in self.index.present.get(vip, ())}

    def wished(self, vip: IPAddress) -> list[PeerRoute]:
        """The routes of ``vip`` that peers should hold, by peer, shorter prefixes first."""
        return sorted(self.index.wished.get(vip, ()), key=lambda route: (route[0], route[1].prefixlen))

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
        prefixes = around(vip, sorted(+self.index.lengths))
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
