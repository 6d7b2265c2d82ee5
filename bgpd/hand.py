"""Carries out the agent's steps: turns each into something the core wants, then waits until the engine has taken it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from announcer.model.errors import TargetError
from announcer.model.net import Family
from announcer.model.observed import Outcome, OutcomeState
from announcer.model.steps import Announce, AnyStep, ConfigureNeighbors, DeclareForwarding, EndOfRib, Withdraw
from bgpd.core import Core
from bgpd.link import Link
from bgpd.neighbors import Neighbors, Until
from bgpd.problems import neighbor_problems
from bgpd.settings import SpeakerSettings

log = logging.getLogger("lockstep.speaker")

#: How long ``apply`` waits for the engine before it says ``waiting``.
_ANSWER_SECONDS = 10.0
_RETRY_SECONDS = 2.0


class Hand:
    """The agent's side of the speaker."""

    def __init__(
        self, settings: SpeakerSettings, core: Core, link: Link, until: Until, kick: Callable[[], None]
    ) -> None:
        """``until(true, seconds)`` waits for the core; ``kick`` has it look for commands to give."""
        self._settings = settings
        self._core = core
        self._until = until
        self._kick = kick
        self._lock = asyncio.Lock()
        self._neighbors = Neighbors(settings, core, link, until, kick)
        self._closed = False

    async def close(self) -> None:
        """Take no more steps, and let the one under way end."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS), self._lock:
                pass

    async def apply(self, steps: Sequence[AnyStep]) -> list[Outcome]:
        """One outcome for each step, in the same order."""
        outcomes: list[Outcome] = []
        async with self._lock:
            begun: list[tuple[AnyStep, str]] = []
            for step in steps:
                if isinstance(step, ConfigureNeighbors):
                    outcomes += await self._finish(begun)
                    begun = []
                    # Not to be cut short by the agent's end: half a reload would leave nobody to see its result.
                    outcomes.append(await asyncio.shield(self._configure_step(step)))
                elif isinstance(step, DeclareForwarding):
                    outcomes += await self._finish(begun)
                    begun = []
                    outcomes.append(self._declare(step))
                else:
                    begun.append((step, self._begin(step)))
            self._kick()
            return outcomes + await self._finish(begun)

    async def retry(self) -> None:
        """Until cancelled: try again to run the neighbors to which there was no route."""
        while True:
            await self._neighbors.unresolved.wait()
            await asyncio.sleep(_RETRY_SECONDS)
            if self._neighbors.unresolved.is_set() and not self._closed:
                async with self._lock:
                    with contextlib.suppress(TargetError):
                        await self._neighbors.configure([peer.neighbor for peer in self._core.peers.values()])
                    self._kick()

    def _begin(self, step: AnyStep) -> str:
        """Start ``step``. Returns why that is impossible, else ""."""
        if self._closed:
            return "the speaker is about to exit"
        if not isinstance(step, Announce | Withdraw | EndOfRib):
            return f"{type(step).__name__} is not a step of the speaker"
        peer = self._core.peers.get(step.peer)
        if peer is None:
            return f"there is no neighbor {step.peer}"
        if isinstance(step, Announce):
            if Family.of(step.route.nlri) not in peer.neighbor.carried:
                return f"the session with {step.peer} is not to carry {Family.of(step.route.nlri).label} routes"
            peer.rib.want(step.route)
        elif isinstance(step, Withdraw):
            peer.rib.unwant(step.nlri)
        elif not peer.want_end_of_rib(step.session):
            return f"session {step.session} is not the present one"
        self._core.version += 1
        return ""

    async def _finish(self, begun: Sequence[tuple[AnyStep, str]]) -> list[Outcome]:
        deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
        outcomes = []
        for step, problem in begun:
            if problem:
                outcomes.append(Outcome(step=step, state=OutcomeState.FAILED, problem=problem))
                continue
            left = deadline - asyncio.get_running_loop().time()
            if not self._no_use_waiting(step):
                await self._until(lambda step=step: self._no_use_waiting(step), max(0.0, left))  # type: ignore[misc]
            outcomes.append(self._outcome(step))
        return outcomes

    def _no_use_waiting(self, step: AnyStep) -> bool:
        """True if ``step`` is taken, or if a peer that does not read holds it up: others must not wait for that."""
        if self._taken(step):
            return True
        peer = self._core.peers.get(step.peer) if isinstance(step, Announce | Withdraw) else None
        nlri = step.route.nlri if isinstance(step, Announce) else step.nlri if isinstance(step, Withdraw) else None
        return peer is not None and nlri is not None and peer.rib.held_up(nlri)

    def _taken(self, step: AnyStep) -> bool:
        """True if there is nothing to wait for any more: taken, refused, or without a neighbor."""
        peer = self._core.peers.get(step.peer) if isinstance(step, Announce | Withdraw | EndOfRib) else None
        if peer is None:
            return True
        if isinstance(step, Announce):
            entry = peer.rib.entry(step.route.nlri)
            if entry is None or entry.withdrawing or entry.route != step.route:
                return True  # a later step wanted something else
            return entry.acknowledged or peer.rib.refused(step.route.nlri)
        if isinstance(step, Withdraw):
            entry = peer.rib.entry(step.nlri)
            return entry is None or not entry.withdrawing or entry.acknowledged or peer.rib.refused(step.nlri)
        return peer.end_of_rib_taken or not peer.rib.up

    def _outcome(self, step: AnyStep) -> Outcome:
        peer = self._core.peers.get(step.peer) if isinstance(step, Announce | Withdraw | EndOfRib) else None
        nlri = step.route.nlri if isinstance(step, Announce) else step.nlri if isinstance(step, Withdraw) else None
        if peer is None:
            return Outcome(step=step, state=OutcomeState.FAILED, problem="the neighbor was removed")
        if nlri is not None and peer.rib.refused(nlri):
            return Outcome(step=step, state=OutcomeState.FAILED, problem="ExaBGP refused the command")
        taken = peer.end_of_rib_taken if isinstance(step, EndOfRib) else self._taken(step)
        if not taken:
            return Outcome(step=step, state=OutcomeState.WAITING, problem="ExaBGP has not taken it yet")
        return Outcome(step=step, state=OutcomeState.DONE)

    def _declare(self, step: DeclareForwarding) -> Outcome:
        """Into force with the next OPEN of any session."""
        try:
            if step.kept:
                self._settings.forwarding_mark.touch(mode=0o600)
            else:
                self._settings.forwarding_mark.unlink(missing_ok=True)
        except OSError as error:
            return Outcome(step=step, state=OutcomeState.FAILED, problem=str(error))
        self._core.forwarding_kept = step.kept
        self._core.version += 1
        return Outcome(step=step, state=OutcomeState.DONE)

    async def _configure_step(self, step: ConfigureNeighbors) -> Outcome:
        problems = [str(problem) for problem in neighbor_problems(step.neighbors)]
        if self._closed:
            problems.append("the speaker is about to exit")
        if problems:
            return Outcome(step=step, state=OutcomeState.FAILED, problem="; ".join(problems), retry=self._closed)
        try:
            await self._neighbors.configure(step.neighbors)
            self._kick()
        except TargetError as error:
            return Outcome(step=step, state=OutcomeState.FAILED, problem=str(error), retry=error.retry)
        return Outcome(step=step, state=OutcomeState.DONE)
