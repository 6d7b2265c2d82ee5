"""A world to try plans in: a kernel, a speaker and routers, each as simple as it can be and still be wrong.

The kernel holds entries until told otherwise. The speaker takes commands at once and sends them later, one UPDATE at a
time, as ExaBGP does. A router believes what was sent to it; when its session drops it forgets everything, or, as a
graceful-restart helper, keeps it for the restart time or until End-of-RIB. Nothing here shares code with ``plan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from announcer.model.bgp import Neighbor, PeerObserved, PeerState, RibEntry, Route
from announcer.model.lb import DeviceObserved, Frontend, FrontendKey, Hook, Proof
from announcer.model.net import IPAddress, IPNetwork
from announcer.model.observed import BgpObserved, DatapathObserved, Outcome, OutcomeState
from announcer.model.steps import (
    Announce,
    AnyStep,
    AttachDevices,
    ConfigureNeighbors,
    DeclareForwarding,
    EndOfRib,
    GuardAggregate,
    ProgramFrontend,
    RemoveFrontend,
    UnguardAggregate,
    Verify,
    Withdraw,
)


@dataclass
class Kernel:
    """Entries, and whether packets reach them."""

    entries: dict[FrontendKey, Frontend] = field(default_factory=dict)
    guards: set[IPNetwork] = field(default_factory=set)
    attached: bool = False
    adopted: bool = False
    full: bool = False
    refuses_attach: bool = False
    arrivals: int = 0
    unprovable: bool = False
    damaged: dict[FrontendKey, str] = field(default_factory=dict)

    def copy(self) -> Kernel:
        """Values are frozen; only their holders are copied."""
        return replace(self, entries=dict(self.entries), guards=set(self.guards), damaged=dict(self.damaged))

    def observe(self) -> DatapathObserved:
        device = DeviceObserved(name="eth0", ifindex=2, hook=Hook.XDP_NATIVE, attached=self.attached)
        return DatapathObserved(
            devices={"eth0": device},
            frontends=dict(self.entries),
            guards=frozenset(self.guards),
            arrivals=self.arrivals,
            adopted=self.adopted,
            damaged=dict(self.damaged),
        )

    def serves(self, vip: IPAddress) -> bool:
        return self.attached and any(f.backends for key, f in self.entries.items() if key.vip == vip)

    def apply(self, step: AnyStep, now: float) -> Outcome:
        match step:
            case AttachDevices():
                self.attached = not self.refuses_attach
                return _outcome(step, self.attached, "refused")
            case ProgramFrontend(frontend=frontend):
                if self.full and frontend.key not in self.entries:
                    return _outcome(step, False, "map is full")
                self.entries[frontend.key] = frontend
                self.damaged.pop(frontend.key, None)
                return _outcome(step, True)
            case GuardAggregate(prefix=prefix):
                if self.full and prefix not in self.guards:
                    return _outcome(step, False, "map is full")
                self.guards.add(prefix)
                return _outcome(step, True)
            case UnguardAggregate(prefix=prefix):
                self.guards.discard(prefix)
                return _outcome(step, True)
            case RemoveFrontend(key=key):
                self.entries.pop(key, None)
                self.damaged.pop(key, None)
                return _outcome(step, True)
            case Verify(frontends=frontends):
                ok = not self.unprovable and self.attached and all(self.entries.get(f.key) == f for f in frontends)
                proof = Proof(ok=ok, at=now, problem="" if ok else "differs")
                state = OutcomeState.DONE if ok else OutcomeState.FAILED
                return Outcome(step=step, state=state, problem=proof.problem, proof=proof)
        raise AssertionError(f"not for the kernel: {step}")


@dataclass
class Router:
    """What one router believes, and of that what it keeps only as a graceful-restart helper."""

    up: bool = False
    routes: dict[IPNetwork, Route] = field(default_factory=dict)
    stale: set[IPNetwork] = field(default_factory=set)
    stale_until: float = 0.0

    def copy(self) -> Router:
        return replace(self, routes=dict(self.routes), stale=set(self.stale))


@dataclass
class Speaker:
    """Neighbors, their Adj-RIB-Out, and the routers at the other end."""

    reachable: bool = True
    neighbors: dict[str, Neighbor] = field(default_factory=dict)
    rib: dict[str, dict[IPNetwork, RibEntry]] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    end_of_rib: dict[str, int] = field(default_factory=dict)
    down_since: dict[str, float | None] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    forwarding_kept: bool = False

    def copy(self) -> Speaker:
        return Speaker(
            reachable=self.reachable,
            neighbors=dict(self.neighbors),
            rib={name: dict(rib) for name, rib in self.rib.items()},
            sessions=dict(self.sessions),
            end_of_rib=dict(self.end_of_rib),
            down_since=dict(self.down_since),
            routers={name: router.copy() for name, router in self.routers.items()},
        )

    def observe(self) -> BgpObserved:
        if not self.reachable:
            return BgpObserved(reachable=False)
        peers = {name: self._peer(name) for name in self.neighbors}
        return BgpObserved(reachable=True, peers=peers, forwarding_kept=self.forwarding_kept)

    def _peer(self, name: str) -> PeerObserved:
        up = self.routers[name].up
        return PeerObserved(
            neighbor=self.neighbors[name],
            state=PeerState.ESTABLISHED if up else PeerState.CONNECT,
            down_since=self.down_since.get(name),
            session=self.sessions.get(name, 0),
            end_of_rib=self.end_of_rib.get(name, 0),
            rib=dict(self.rib[name]),
        )

    def apply(self, steps: Sequence[AnyStep], now: float) -> list[Outcome]:
        return [self._apply_one(step, now) for step in steps]

    def _apply_one(self, step: AnyStep, now: float) -> Outcome:
        if not self.reachable:
            return _outcome(step, False, "the speaker does not answer")
        match step:
            case ConfigureNeighbors(neighbors=neighbors):
                self._configure({neighbor.name: neighbor for neighbor in neighbors}, now)
            case DeclareForwarding(kept=kept):
                self.forwarding_kept = kept
            case Announce(peer=peer, route=route):
                if peer not in self.neighbors:
                    return _outcome(step, False, "no such neighbor")
                self.rib[peer][route.nlri] = RibEntry(route=route, acknowledged=True)
            case Withdraw(peer=peer, nlri=nlri):
                entry = self.rib.get(peer, {}).get(nlri)
                if entry is not None and self.routers[peer].up:
                    self.rib[peer][nlri] = RibEntry(route=entry.route, withdrawing=True, acknowledged=True)
                elif entry is not None:
                    del self.rib[peer][nlri]
            case EndOfRib(peer=peer, session=session):
                if self.sessions.get(peer) == session and self.routers[peer].up:
                    self.end_of_rib[peer] = session
                    self._drop_stale(peer)
            case _:
                raise AssertionError(f"not for the speaker: {step}")
        return _outcome(step, True)

    def _configure(self, wanted: dict[str, Neighbor], now: float) -> None:
        for name in [name for name in self.neighbors if wanted.get(name) != self.neighbors[name]]:
            self.session_down(name, now, graceful=False)
            for table in (self.neighbors, self.rib, self.sessions, self.end_of_rib, self.down_since):
                table.pop(name, None)
        for name, neighbor in wanted.items():
            if name not in self.neighbors:
                self.neighbors[name] = neighbor
                self.rib[name] = {}
                self.down_since[name] = now
                self.routers.setdefault(name, Router())

    def session_up(self, name: str) -> None:
        router = self.routers[name]
        if router.up:
            return
        router.up = True
        if self.neighbors[name].graceful_restart is None or not self.forwarding_kept:
            self._drop_stale(name)  # a new session replaces the one that it still believed in
        self.down_since[name] = None
        self.sessions[name] = self.sessions.get(name, 0) + 1

    def session_down(self, name: str, now: float, *, graceful: bool = True, silent: bool = False) -> None:
        """``silent``: a partition. The router notices nothing before its hold time is over."""
        router, neighbor = self.routers[name], self.neighbors[name]
        keeps = (neighbor.graceful_restart or 0) + (neighbor.hold_time if silent else 0)
        if router.up and graceful and keeps:
            router.stale, router.stale_until = set(router.routes), now + keeps
        elif router.up or not graceful:
            router.routes.clear()
            router.stale.clear()
        if router.up:
            self.down_since[name] = now
        router.up = False
        kept = {nlri: entry for nlri, entry in self.rib[name].items() if not entry.withdrawing}
        self.rib[name] = {nlri: RibEntry(route=entry.route, acknowledged=True) for nlri, entry in kept.items()}

    def crash(self, now: float) -> None:
        """The speaker and its ExaBGP die and come back empty. Sessions close; a helper keeps what it holds."""
        for name in list(self.neighbors):
            self.session_down(name, now)
        for table in (self.neighbors, self.rib, self.sessions, self.end_of_rib, self.down_since):
            table.clear()
        self.forwarding_kept = False

    def unsent(self) -> list[tuple[str, IPNetwork]]:
        return [
            (name, nlri)
            for name in sorted(self.rib)
            if self.routers[name].up
            for nlri, entry in self.rib[name].items()
            if not entry.sent
        ]

    def send(self, name: str, nlri: IPNetwork) -> None:
        """One UPDATE leaves, and the router acts on it."""
        entry, router = self.rib[name][nlri], self.routers[name]
        router.stale.discard(nlri)
        if entry.withdrawing:
            del self.rib[name][nlri]
            router.routes.pop(nlri, None)
        else:
            self.rib[name][nlri] = RibEntry(route=entry.route, acknowledged=True, sent=True)
            router.routes[nlri] = entry.route

    def expire_stale(self, now: float) -> None:
        for name, router in self.routers.items():
            if router.stale and now >= router.stale_until:
                self._drop_stale(name)

    def _drop_stale(self, name: str) -> None:
        router = self.routers[name]
        for nlri in router.stale:
            router.routes.pop(nlri, None)
        router.stale.clear()


def _outcome(step: AnyStep, ok: bool, problem: str = "") -> Outcome:
    return Outcome(step=step, state=OutcomeState.DONE if ok else OutcomeState.FAILED, problem="" if ok else problem)
