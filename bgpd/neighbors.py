"""Has ExaBGP run other neighbors: rendered, validated out of process, put in place, and only then loaded."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

import bgpd
from announcer.model.bgp import Neighbor
from announcer.model.errors import TargetError
from bgpd.bfdd import check_bfd
from bgpd.core import Core
from bgpd.link import Cause, Link, now
from bgpd.render import render
from bgpd.routing import with_router_id
from bgpd.settings import SpeakerSettings

_QUIET_SECONDS = 1.0
_ENGINE_UP_SECONDS = 10.0

Until = Callable[[Callable[[], bool], float], Awaitable[bool]]


class Neighbors:
    """What ExaBGP is configured with."""

    def __init__(
        self, settings: SpeakerSettings, core: Core, link: Link, until: Until, kick: Callable[[], None]
    ) -> None:
        """``until(true, seconds)`` waits for the core; ``kick`` has it look for commands to give."""
        self._settings = settings
        self._core = core
        self._link = link
        self._until = until
        self._kick = kick
        self._configuring = asyncio.Lock()
        self._router_ids: dict[str, Neighbor] = {}
        self._text = ""
        self.unresolved = asyncio.Event()

    async def configure(self, neighbors: Sequence[Neighbor]) -> None:
        """Run exactly ``neighbors``. ``unresolved`` is set if there is no route to some of them: try again later.

        Raises TargetError, and leaves everything as it was, if ExaBGP would refuse the configuration.
        """
        async with self._configuring:  # the one of an agent that has died in the meantime runs to its end
            await self._configure_alone(neighbors)

    async def _configure_alone(self, neighbors: Sequence[Neighbor]) -> None:
        runnable, problems = self._resolve(neighbors)
        text = self._render(runnable) if runnable else ""
        if text != self._text and text:
            await self._link.engine.configure(text)
        if text != self._text:
            await self._switch(neighbors, text)
        else:
            self._core.set_neighbors(neighbors, now())
        (self.unresolved.set if problems else self.unresolved.clear)()
        for name, problem in problems.items():
            self._core.peers[name].last_error = problem

    def _resolve(self, neighbors: Sequence[Neighbor]) -> tuple[list[Neighbor], dict[str, str]]:
        """Neighbors with a router id, and why the others cannot have one now.

        A neighbor that stays the same keeps the router id it was given first: another one would reset its session.
        """
        kept = {n.name: self._router_ids[n.name] for n in neighbors if n.name in self._router_ids}
        problems: dict[str, str] = {}
        for neighbor in neighbors:
            known = kept.get(neighbor.name)
            if known is not None and known in (neighbor, _with(neighbor, known)):
                continue
            kept.pop(neighbor.name, None)
            try:
                check_bfd(neighbor)
                kept[neighbor.name] = with_router_id(neighbor)
            except TargetError as error:
                problems[neighbor.name] = str(error)
        self._router_ids = kept
        return list(kept.values()), problems

    def _render(self, neighbors: Sequence[Neighbor]) -> str:
        relay = Path(bgpd.__file__).resolve().parent / "relay.py"
        try:
            return render(neighbors, python=Path(sys.executable), relay=relay, relay_socket=self._settings.relay_socket)
        except ValueError as error:
            raise TargetError("render the configuration of ExaBGP", detail=str(error), retry=False) from error

    async def _switch(self, neighbors: Sequence[Neighbor], text: str) -> None:
        """Have the engine run the configuration that is in place now."""
        await self._take_leave(neighbors)
        self._text = text
        is_there = self._link.engine.pid is not None
        self._core.held = True
        try:
            # A reload while anything is queued for a peer is dropped by ExaBGP without a word.
            await self._until(lambda: self._core.quiet, _QUIET_SECONDS)
            self._core.set_neighbors(neighbors, now())
            if not text:
                self._link.wanted.clear()
                self._link.fail(Cause.NOT_WANTED, "no neighbor is configured")
                return
            self._link.wanted.set()
            if is_there and not self._core.engine_ready:
                # It has just been started, may have read what was there before, and takes no signal yet.
                await self._until(lambda: self._core.engine_ready or self._link.engine.pid is None, _ENGINE_UP_SECONDS)
            if is_there and self._core.engine_ready and not await self._link.engine.reload():
                self._link.fail(Cause.RELOAD, "ExaBGP refused to load its configuration again, although it is valid")
                await self._until(lambda: not self._core.engine_ready, _ENGINE_UP_SECONDS)
        finally:
            self._core.held = False
        if not await self._until(lambda: self._core.engine_ready, _ENGINE_UP_SECONDS):
            raise TargetError("start ExaBGP", detail=self._core.problem or "its helper has not connected yet")

    async def _take_leave(self, neighbors: Sequence[Neighbor]) -> None:
        """Withdraw everything from peers that are neighbors no longer.

        With graceful restart ExaBGP ends their sessions without a word, and they would keep it for the restart time.
        """
        staying = {neighbor.address for neighbor in neighbors}
        leaving = [peer for peer in self._core.peers.values() if peer.neighbor.address not in staying]
        for peer in leaving:
            peer.rib.unwant_all()
        self._kick()
        await self._until(lambda: not any(peer.rib.holds_any for peer in leaving), self._settings.exit_deadline)


def _with(neighbor: Neighbor, known: Neighbor) -> Neighbor:
    """``neighbor`` with the router id of ``known`` if it has none of its own."""
    return neighbor if neighbor.router_id else msgspec.structs.replace(neighbor, router_id=known.router_id)
