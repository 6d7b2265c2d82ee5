"""The datapath as the run loop sees it: observe, apply, and a few questions.

Nothing here raises for what the kernel says, except :meth:`Datapath.open`: without programs and maps there is no hand.
All calls are made in place and belong to one thread and one network namespace.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from announcer.model.errors import BugError, TargetError
from announcer.model.lb import DEFAULT_SNAT_PORTS, DeviceObserved, Frontend, FrontendKey, PortRange, Proof
from announcer.model.net import IPAddress
from announcer.model.observed import DatapathObserved, Outcome, OutcomeState
from announcer.model.steps import (
    AnyStep,
    AttachDevices,
    GuardAggregate,
    ProgramFrontend,
    RemoveFrontend,
    UnguardAggregate,
    Verify,
)
from datapath import abi, encode, loader, shim, trace
from datapath.abi import PacketReason
from datapath.bpffs import Folder
from datapath.damage import Damage
from datapath.devices import Detector
from datapath.guards import Guards
from datapath.limits import Limits
from datapath.links import Links
from datapath.neigh import Nexthops, skip_failed_hops
from datapath.netdev import Netdev
from datapath.notices import Notices
from datapath.proof import Prover
from datapath.renewal import Arrival, Renewals
from datapath.rtnl import Link, Rtnl
from datapath.settle import EGRESS, INGRESS
from datapath.snat import Snat
from datapath.stacked import Stacked
from datapath.tables import Tables
from datapath.tc import Tc
from datapath.trace import TraceRequest, TraceResult
from datapath.transition import Transitions
from datapath.uninstall import uninstall

log = logging.getLogger(__name__)

#: How packets end that a router sent here for a VIP and that went on to a backend.
BALANCED = (
    PacketReason.LOCAL,
    PacketReason.REMOTE_TX,
    PacketReason.REMOTE_REDIRECT,
    PacketReason.GENEVE_TX,
    PacketReason.GENEVE_REDIRECT,
    PacketReason.SNAT_TX,
    PacketReason.SNAT_REDIRECT,
)

#: Names of the counters.
_REASONS = tuple(map(str, PacketReason))

#: For so many seconds at most proofs take it that devices are as the first of them found them.
_ROUND = 1.0


class Datapath:
    """The forwarding hand of this node (``announcer.model.hands.DatapathHand``)."""

    def __init__(
        self,
        *,
        bpffs: Path,
        devices: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
        echo: bool = True,
        tcx: bool | None = None,
        snat_ports: PortRange = DEFAULT_SNAT_PORTS,
    ) -> None:
        """``devices`` None: found by routes. ``clock``: CLOCK_MONOTONIC seconds.

        ``echo``: a VIP that serves answers ICMP echo requests.

        ``snat_ports``: from which packets go to remote backends of frontends whose mode is SNAT.

        ``tcx``: egress by tcx links, or by tc filters; None, which is right: by tcx if the kernel has it.
        """
        self._bpffs = bpffs
        self._listed = devices
        self._clock = clock
        self._limits = limits or Limits()
        self._settings = abi.SettingFlag.ECHO if echo else abi.SettingFlag(0)
        self._tcx = tcx
        self._snat_ports = snat_ports
        self._closing = contextlib.ExitStack()
        self._toward: tuple[IPAddress, ...] = ()
        self._renewals = Renewals()
        self._prover: Prover | None = None
        self._seen: tuple[DeviceObserved, ...] = ()
        self._seen_at = (-1, 0.0)

    def open(self) -> None:
        """Load the programs, or take over what is pinned. Nothing is attached yet that was not before.

        Raises ``TargetError``: another agent holds the folder, other layout, not permitted, the verifier refuses, ...
        """
        with contextlib.ExitStack() as undo:
            self._folder = Folder(self._bpffs)
            undo.callback(self._folder.close)
            self._tc = Tc()
            undo.callback(self._tc.close)
            self._loaded = loader.load(self._folder, self._limits, self._tc)
            undo.callback(self._loaded.close)
            self._rtnl = Rtnl()
            undo.callback(self._rtnl.close)
            self._notices = Notices()
            undo.callback(self._notices.close)
            self._detector = Detector(self._rtnl, self._notices, self._listed, self._clock)
            self._netdev = Netdev()
            undo.callback(self._netdev.close)
            self._links = Links(
                self._folder.links, self._loaded.programs, self._rtnl, None if self._use_tcx() else self._tc
            )
            undo.callback(self._links.close)
            self._switch()
            self._stacked = Stacked(self._loaded.maps, self._rtnl, self._notices)
            self._guards = Guards(self._loaded.maps.guards, self._loaded.maps.sieve)
            self._tables = Tables(self._loaded.maps, self._limits)
            undo.callback(self._tables.close)
            self._tables.sweep()
            held = [each.frontend(key) for key, each in self._tables.frontends.items()]
            self._snat = Snat(self._loaded.maps, self._loaded.sweep, self._snat_ports, held)
            self._transitions = Transitions(self._loaded.maps, self._tables)
            skip_failed_hops()
            self._nexthops = Nexthops(self._rtnl, self._notices, self._clock)
            self._nexthops.use(self._nexthops.routes(self._tables.remote_backends()))
            self._nexthops.keep_only(self._tables.remote_backends())
            self._damage = Damage(self._loaded.maps, self._nexthops, self._tables)
            self._closing = undo.pop_all()

    def _switch(self) -> None:
        self._loaded.maps.settings.put(bytes(4), abi.SETTINGS.pack(self._settings, 0))

    def _use_tcx(self) -> bool:
        tcx = shim.has_tcx(self._loaded.programs[EGRESS].fd) if self._tcx is None else self._tcx
        log.info("egress programs are attached by %s", "tcx links" if tcx else "tc filters (clsact, cls_bpf)")
        return tcx

    def close(self) -> None:
        """Let go of everything. Programs, maps and links are pinned and go on without us."""
        self._closing.close()

    def uninstall(self) -> None:
        """Close, and take away all that is ours. Raises ``TargetError``."""
        self.close()
        uninstall(self._bpffs)

    # --- observe --------------------------------------------------------------------------------------------------

    def observe(self, toward: Sequence[IPAddress]) -> DatapathObserved:
        """Read everything back from the kernel. Slots in transition that no flow needs any more become steady, and SNAT
        flows that are over give up their ports."""
        self._toward = tuple(toward)
        self._forget_devices()
        try:
            self._switch()
            self._stacked.follow()
            self._tables.refresh()
            counters = self.counters()
            self._tables.tend(self._clock())
            self._tables.shorten(self._clock())
            self._transitions.tend(self._clock())
            self._snat.tend(self._clock())
            return DatapathObserved(
                devices={device.name: device for device in self._see_devices()},
                guards=self._guards.read(),
                adopted=self._loaded.adopted,
                frontends=self._tables.read(),
                damaged=self._damage.find(),
                maps=self._tables.usage(),
                arrivals=sum(counters[reason] for reason in BALANCED),
            )
        except TargetError as error:
            return DatapathObserved(problem=str(error))

    def _forget_devices(self) -> None:
        """They may be about to change, or have."""
        self._prover = None
        self._seen_at = (-1, 0.0)

    def _see_devices(self) -> tuple[DeviceObserved, ...]:
        """As they are now, for the proofs of this round."""
        self._forget_devices()
        at = (self._notices.generation(), self._clock())
        self._seen = tuple(self._devices())
        self._seen_at = at
        return self._seen

    def _devices(self) -> Iterator[DeviceObserved]:
        missing = self._loaded.missing_pins()
        seen = {
            ifindex: msgspec.structs.replace(self._links.observe(ifindex, name), needed=needed)
            for name, (ifindex, needed) in self._detector.wanted(self._toward).items()
        }
        for device in seen.values():
            blind = self._blind(device, seen)
            if device.attached and blind:
                yield msgspec.structs.replace(device, attached=False, problem=blind)
            elif device.attached and missing:
                # It works, but would not outlive this process: not what "attached" promises.
                problem = f"pins are gone: {missing[0]}"
                yield msgspec.structs.replace(device, attached=False, unpinned=True, problem=problem)
            else:
                yield device

    def _blind(self, device: DeviceObserved, seen: Mapping[int, DeviceObserved]) -> str:
        """A VLAN device's packets meet the program of the device below first: can it see whose they are?"""
        below = [seen[arrival.below] for arrival in self._stacked.tagged(device.ifindex) if arrival.below in seen]
        return next(filter(None, (self._stacked.blind(each.ifindex) for each in below if each.attached)), "")

    # --- apply ----------------------------------------------------------------------------------------------------

    def apply(self, step: AnyStep) -> Outcome:
        """Carry out one step of ours. Raises ``BugError`` for a step of the other hand."""
        try:
            match step:
                case AttachDevices():
                    self._attach(step)
                case ProgramFrontend():
                    self._program(step.frontend)
                case RemoveFrontend():
                    self._remove(step.key)
                case GuardAggregate():
                    self._guards.add(step.prefix)
                case UnguardAggregate():
                    self._guards.remove(step.prefix)
                case Verify():
                    return self._verify(step)
                case _:
                    raise BugError(f"no step of the datapath: {step}")
        except TargetError as error:
            return Outcome(step=step, state=OutcomeState.FAILED, problem=str(error), retry=error.retry)
        return Outcome(step=step, state=OutcomeState.DONE)

    def _attach(self, step: AttachDevices) -> None:
        self._toward = step.toward
        self._forget_devices()
        self._folder.restore()
        self._loaded.restore_pins()
        self._stacked.follow()
        found = self._detector.wanted(self._toward)
        if not found:
            raise TargetError("attach", detail="no ingress device: no default route and no route to a peer")
        failed = []
        for name, (ifindex, _) in found.items():
            try:
                self._links.attach(ifindex)
            except TargetError as error:
                failed.append((name, error))
        seen = {ifindex: self._links.observe(ifindex, name) for name, (ifindex, _) in found.items()}
        blind = ((device.name, self._blind(device, seen)) for device in seen.values())
        failed += [(name, TargetError("see VLAN tags", detail=why)) for name, why in blind if why]
        if failed:
            detail = "; ".join(f"{name}: {error}" for name, error in failed)
            raise TargetError("attach", detail=detail, retry=any(error.retry for _, error in failed))

    def _program(self, frontend: Frontend) -> None:
        refused = encode.refusal(frontend)
        if refused:
            raise TargetError(f"program {frontend.key}", detail=refused, retry=False)
        refused = self._snat.refusal(frontend)
        if refused:
            raise TargetError(f"program {frontend.key}", detail=refused)
        self._snat.prepare(frontend)
        members = (*frontend.backends, *frontend.terminating)
        touched = {*self._tables.backends_of(frontend.key), *members}
        routes = self._nexthops.routes(backend for backend in members if not backend.local)
        self._nexthops.use(routes)
        try:
            sources = {backend: route.source if route else None for backend, route in routes.items()}
            self._tables.program(frontend, sources, self._clock())
        finally:
            self._nexthops.release(self._tables.unused(touched))

    def _remove(self, key: FrontendKey) -> None:
        touched = self._tables.backends_of(key)
        self._tables.remove(key, self._clock())
        self._nexthops.release(self._tables.unused(touched))
        self._renewals.forget(key)

    def _verify(self, step: Verify) -> Outcome:
        try:
            problem = self._problem(step)
        except TargetError as error:
            problem = str(error)
        proof = Proof(ok=not problem, at=self._clock(), problem=problem)
        state = OutcomeState.FAILED if problem else OutcomeState.DONE
        return Outcome(step=step, state=state, problem=problem, proof=proof)

    def _problem(self, step: Verify) -> str:
        prover, problem = self._prover_now()
        if prover is None:
            return problem
        for frontend in step.frontends:
            if not prover.renewed(frontend):
                refused = encode.refusal(frontend) or self._snat.refusal(frontend)
                problem = f"{frontend.key}: {refused}" if refused else prover.problem(frontend)
            problem = problem or self._unroutable(frontend)
            if problem:
                return problem
        return ""

    def _prover_now(self) -> tuple[Prover | None, str]:
        """The one of this round, or why there is none: thousands of proofs ask only once what the devices are."""
        generation, at = self._seen_at
        if generation != self._notices.generation() or self._clock() >= at + _ROUND:
            self._see_devices()
        if self._prover is None:
            self._prover, problem = self._made_prover()
            return self._prover, problem
        return self._prover, ""

    def _made_prover(self) -> tuple[Prover | None, str]:
        attached = []
        for device in self._seen:
            link = self._rtnl.link(device.ifindex)
            if not device.needed and not device.attached:
                continue
            if not device.attached or link is None:
                return None, f"{device.name}: {device.problem or 'no such device'}"
            attached.append(Arrival(link))
            attached += [Arrival(below, tags) for below, tags in self._below(device)]
        if not attached:
            return None, "no ingress device"
        return Prover(
            self._loaded.maps,
            self._tables.look,
            self._prog,
            attached,
            renewals=self._renewals,
            unresolved=self._nexthops.nudge,
            takes_redirects=self._netdev.takes_redirects,
        ), ""

    def _below(self, device: DeviceObserved) -> Iterator[tuple[Link, tuple[int, ...]]]:
        """The devices with our program by which frames for a VLAN device come in, and the tags that these have."""
        for arrival in self._stacked.tagged(device.ifindex):
            link = self._rtnl.link(arrival.below)
            if link is not None and link.xdp_prog == self._loaded.programs[INGRESS].id:
                yield link, tuple(filter(None, arrival.tags))

    def _unroutable(self, frontend: Frontend) -> str:
        """A translated packet is handed to the stack: would that bring it to the backend, or back to the router?"""
        local = [backend for backend in frontend.backends if backend.local]
        if not local:
            return ""
        ingress = {ifindex for ifindex, needed in self._detector.wanted(self._toward).values() if needed}
        for backend in local:
            route = self._rtnl.route(backend.address)
            if route is None or (route.ifindex in ingress and not route.local):
                return f"{frontend.key}: backend {backend.address} is not reachable on this node"
        return ""

    # --- questions ------------------------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """Packets by reason since the maps were made. Raises ``TargetError``."""
        counts = self._loaded.maps.stats.read()
        return dict(zip(_REASONS, counts, strict=True))

    def trace(self, request: TraceRequest) -> TraceResult:
        """Run a packet through the attached program without sending it."""
        try:
            found = [self._rtnl.link(device.ifindex) for device in self._devices() if device.attached]
            links: list[Link] = [link for link in found if link]
            device = trace.pick(self._rtnl, request, links)
            return trace.run(self._loaded.maps, self._tables.look, self._prog, self._rtnl, device, request)
        except TargetError as error:
            return TraceResult(problem=str(error))

    @property
    def news(self) -> int:
        """A descriptor that can be read from when routes or devices have changed. Ask :meth:`generation` then."""
        return self._notices.fileno()

    def generation(self) -> int:
        """A number that grows with every change of routes, addresses and devices of this node."""
        return self._notices.generation()

    @property
    def _prog(self) -> int:
        return self._loaded.programs[INGRESS].fd
