"""The proof of a VIP: its entries are right, and packets through the attached program end where they should.

For every frontend and device one packet is aimed at each backend (up to 64 of them), from a client that is let in; and
where not everybody is, one from a client that is not has to be refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from announcer.model.lb import Backend, Frontend, FrontendKey, Mode
from datapath import abi, aim, blocks, encode, packet, probe
from datapath.abi import PacketReason, Verdict
from datapath.maps import Maps
from datapath.packet import Flow, Outer
from datapath.readback import Held
from datapath.renewal import Arrival, Renewals, Sent
from datapath.rtnl import Link

_MAX_AIMED = 64
#: After so many flows without one for every backend it is asked whether there is any.
_SOON = 128
#: By whether the frontend rejects.
_WITHOUT_BACKEND = {False: (Verdict.DROP, PacketReason.NO_BACKEND), True: (Verdict.TX, PacketReason.REJECTED)}
_REMOTE = {
    Mode.DSR: {PacketReason.REMOTE_TX: Verdict.TX, PacketReason.REMOTE_REDIRECT: Verdict.REDIRECT},
    Mode.GENEVE: {PacketReason.GENEVE_TX: Verdict.TX, PacketReason.GENEVE_REDIRECT: Verdict.REDIRECT},
    Mode.SNAT: {PacketReason.SNAT_TX: Verdict.TX, PacketReason.SNAT_REDIRECT: Verdict.REDIRECT},
}


class _Aimed(NamedTuple):
    """A flow for a backend, and its id. ``forwarded``: what should be in the tunnel to it, empty: not worked out."""

    flow: Flow
    backend: Backend
    number: int
    forwarded: bytes


class Prover:
    """Proves frontends for packets that come in so, for as long as devices are what they are now.

    ``look``: the frontend as it stands in the maps, None if there is none.
    ``unresolved`` is told of backends whose next hop is not known yet. ``takes_redirects`` says whether a device
    (ifindex) can send what native XDP redirects to it; the generic hook can redirect to any.
    """

    def __init__(
        self,
        maps: Maps,
        look: Callable[[FrontendKey], Held | None],
        prog: int,
        arrivals: Sequence[Arrival],
        *,
        renewals: Renewals,
        unresolved: Callable[[Backend], None],
        takes_redirects: Callable[[int], bool],
    ) -> None:
        self._maps = maps
        self._look = look
        self._prog = prog
        self._run_all = functools.partial(probe.raw, prog)
        self._arrivals = arrivals
        self._unresolved = unresolved
        self._takes_redirects = functools.cache(takes_redirects)
        self._renewals = renewals
        self._sent: list[Sent] = []

    def renewed(self, frontend: Frontend) -> bool:
        """Is all still as it was when this very frontend was proved? If not, :meth:`problem` knows.

        Raises ``TargetError``.
        """
        if not self._renewals.knows(frontend):
            return False
        held = self._look(frontend.key)
        return self._renewals.again(frontend, held, self._arrivals, self._run_all, self._takes_redirects)

    def problem(self, frontend: Frontend) -> str:
        """The first thing that is wrong with it, empty if nothing is. Raises ``TargetError``."""
        held = self._look(frontend.key)
        if held is None:
            return f"{frontend.key}: no entry"
        if held.problem or held.frontend(frontend.key) != frontend:
            return f"{frontend.key}: {held.problem or 'the entry has other backends'}"
        self._sent = []
        aimed = self._aimed(frontend, held) if frontend.backends else []
        for arrival in self._arrivals:
            for wrong in self._probe(frontend, held, arrival, aimed):
                return f"{frontend.key} on {arrival}: {wrong}"
        self._renewals.keep(frontend, held, self._arrivals, self._sent)
        return ""

    def _probe(self, frontend: Frontend, held: Held, arrival: Arrival, aimed: Sequence[_Aimed]) -> Iterator[str]:
        key = frontend.key
        yield from self._probe_outsider(key, held, arrival)
        if not frontend.backends:
            sent = aim.any_flow(key, held.ranges)
            answer = self._run(sent, arrival) if sent else None
            if answer and (answer.verdict, answer.reason) != _WITHOUT_BACKEND[frontend.reject]:
                yield f"a packet without a backend ended as {answer.reason}"
            return
        if not aimed:
            yield from self._probe_unaimed(key, held, arrival)
        frames = packet.build_all([each.flow for each in aimed], arrival.device.address, arrival.tags)
        for each, frame in zip(aimed, frames, strict=True):
            answer, backend = self._run(each.flow, arrival, frame), each.backend
            if answer.backend != each.number:
                yield f"a packet for backend {backend.address}:{backend.port} went to another (id {answer.backend})"
            if not _as_foreseen(each, answer):
                yield from self._judge(held, each.flow, backend, answer)
            if answer.verdict is Verdict.REDIRECT:
                yield from self._judge_redirect(held, backend, arrival.device, answer.ifindex)

    def _judge_redirect(self, held: Held, backend: Backend, device: Link, out: int) -> Iterator[str]:
        back = next((each.device for each in self._arrivals if each.device.ifindex == out), None)
        if held.mode is Mode.SNAT and back is None:
            yield f"backend {backend.address} would answer by device {out}, where no program would see it"
        if device.native and not self._takes_redirects(out):
            yield f"device {out} towards backend {backend.address} takes no packets from native XDP"
        if held.mode is Mode.SNAT and back and back.native and not self._takes_redirects(device.ifindex):
            yield f"device {device.name}, back from backend {backend.address}, takes no packets from native XDP"

    def _probe_outsider(self, key: FrontendKey, held: Held, arrival: Arrival) -> Iterator[str]:
        client = None if held.ranges is None else aim.outsider(key.vip.version, held.ranges)
        if client is None:
            return
        answer = self._run(Flow(client, 1024, key.vip, key.port, key.protocol), arrival)
        if (answer.verdict, answer.reason) != (Verdict.DROP, PacketReason.SOURCE_NOT_ALLOWED):
            yield f"a packet from {client}, which is outside of the source ranges, ended as {answer.reason}"

    def _probe_unaimed(self, key: FrontendKey, held: Held, arrival: Arrival) -> Iterator[str]:
        """The clients that are let in are so few that none of their flows is free: any backend is right then."""
        backends = dict(zip(held.numbers, held.members, strict=True))
        sent = aim.any_flow(key, held.ranges)
        if sent is None:
            return
        answer = self._run(sent, arrival)
        if answer.backend in backends:
            yield from self._judge(held, sent, backends[answer.backend], answer)
        else:
            yield f"a packet for any backend went to another (id {answer.backend})"

    def _run(self, sent: Flow, arrival: Arrival, frame: bytes | None = None) -> probe.Answer:
        """``frame``: what is made of it, if that is known."""
        frame = frame or packet.build(sent, arrival.device.address, arrival.tags)
        answer = probe.run(self._prog, arrival.device.ifindex, frame)
        self._sent.append(Sent(sent, arrival, answer))
        return answer

    def _aimed(self, frontend: Frontend, held: Held) -> list[_Aimed]:
        """A flow for each backend that serves."""
        found = self._flows(frontend, held)
        flows = [sent for sent, _ in found]
        foreseen = frontend.mode is Mode.DSR and all(map(packet.can_vary, flows))
        inner = packet.forwarded(flows) if foreseen else [b""] * len(flows)
        return [
            _Aimed(sent, held.members[position], held.numbers[position], each)
            for (sent, position), each in zip(found, inner, strict=True)
        ]

    def _flows(self, frontend: Frontend, held: Held) -> list[tuple[Flow, int]]:
        """The same with positions among the members."""
        if frontend.affinity or held.entry.previous_bits:
            return self._searched_flows(frontend, held)
        aim_at = functools.partial(blocks.aim, self._maps, held.entry, wanted=min(held.entry.serving, _MAX_AIMED))
        return list(aim.steady(frontend.key, held.ranges, aim_at))

    def _searched_flows(self, frontend: Frontend, held: Held) -> list[tuple[Flow, int]]:
        """One flow after the other is tried: it does not depend on its slot's owner alone where it goes."""
        row, key, affinity = blocks.read_row(self._maps, held.entry), frontend.key, frontend.affinity
        serving = held.entry.serving
        missing = set(range(serving)[:_MAX_AIMED])
        found: list[tuple[Flow, int]] = []
        landings = aim.landings(row, key, held.ranges, affinity=affinity, serving=serving)
        for tries, (position, client, port) in enumerate(landings):
            if tries == _SOON:
                # Without this every port would be tried, at every proof, for backends that none leads to.
                missing &= aim.reachable(row, key, affinity=affinity, serving=serving)
            if not missing:
                break
            if position in missing:
                sent = Flow(client, port, key.vip, key.port, key.protocol)
                if not (row.in_transition and self._remembered(sent, affinity=affinity)):
                    missing.discard(position)
                    found.append((sent, position))
        return found

    def _remembered(self, sent: Flow, *, affinity: bool) -> bool:
        """A client that was taken from the source ranges may have flows of his own, of which the program knows more."""
        key = abi.FLOW_KEY.pack(
            encode.address_bytes(sent.source),
            encode.address_bytes(sent.dest),
            encode.port_bytes(0 if affinity else sent.source_port),
            encode.port_bytes(sent.dest_port),
            sent.protocol.number,
        )
        return any(table.get(key) is not None for table in (self._maps.flows, self._maps.flows_new))

    def _judge(self, held: Held, sent: Flow, backend: Backend, answer: probe.Answer) -> Iterator[str]:
        name = f"backend {backend.address}:{backend.port}"
        if answer.reason is PacketReason.NO_NEIGHBOUR:
            self._unresolved(backend)
            yield f"{name}: its next hop is not resolved yet"
        after = packet.parse(answer.frame)
        if backend.local:
            if (answer.verdict, answer.reason) != (Verdict.PASS, PacketReason.LOCAL):
                yield f"{name}: the packet ended as {answer.reason}"
            elif not after or not after.sound or after.flow != _translated(sent, backend) or after.outer:
                yield f"{name}: the packet was not rewritten as it should"
        elif _REMOTE[held.mode].get(answer.reason) is not answer.verdict:
            yield f"{name}: the packet ended as {answer.reason}"
        elif held.mode is Mode.SNAT:
            if not after or not after.sound or after.outer or not self._comes_back(after.flow, sent, backend):
                yield f"{name}: the packet was not rewritten as it should"
        elif not after or not after.sound or after.flow != sent or not _goes_to(after.outer, backend):
            yield f"{name}: the packet was not encapsulated as it should"

    def _comes_back(self, flow: Flow, sent: Flow, backend: Backend) -> bool:
        """To the backend, from where its answer would be known as one."""
        first, last = abi.SNAT_RANGE.unpack_from(self._maps.sieve.bytes, abi.SNAT_RANGE_AT)
        answers_itself = flow.source in (sent.source, sent.dest)
        wanted = _translated(sent, backend)._replace(source=flow.source, source_port=flow.source_port)
        return flow == wanted and first <= flow.source_port <= last and not answers_itself


def _as_foreseen(aimed: _Aimed, answer: probe.Answer) -> bool:
    """Is this what becomes of most packets? False: it has to be looked at."""
    if not aimed.forwarded or aimed.backend.local or _REMOTE[Mode.DSR].get(answer.reason) is not answer.verdict:
        return False
    return packet.carries(answer.frame, aimed.forwarded, aimed.backend.address)


def _goes_to(outer: Outer | None, backend: Backend) -> bool:
    named = backend.address if backend.node is not None else None
    return outer is not None and (outer.dest, outer.backend) == (backend.sent_to, named)


def _translated(sent: Flow, backend: Backend) -> Flow:
    return sent._replace(dest=backend.address, dest_port=backend.port)
