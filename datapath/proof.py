"""The proof of a VIP: its entries are right, and packets through the attached program end where they should.

For every frontend and device one packet is aimed at each backend (up to 64 of them) by choosing its source port: the
row is known, and so is the hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from announcer.model.lb import Backend, Frontend, FrontendKey
from announcer.model.net import IPAddress, Protocol
from datapath import blocks, flow, packet, probe, readback
from datapath.abi import PacketReason, Verdict
from datapath.maps import Maps
from datapath.readback import Held
from datapath.rtnl import Link

#: Of the blocks for documentation (RFC 5737, RFC 3849), which belong to nobody: nobody's flow is confused with these.
_SOURCES: dict[int, IPAddress] = {
    4: IPv4Address("192.0.2.254"),
    6: IPv6Address("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"),
}
_MAX_AIMED = 64
_FIRST_PORT = 1024
_REMOTE = {PacketReason.REMOTE_TX: Verdict.TX, PacketReason.REMOTE_REDIRECT: Verdict.REDIRECT}


class Prover:
    """Proves frontends on the given devices.

    ``unresolved`` is told of backends whose next hop is not known yet. ``takes_redirects`` says whether a device
    (ifindex) can send what native XDP redirects to it; the generic hook can redirect to any.
    """

    def __init__(
        self,
        maps: Maps,
        prog: int,
        devices: Sequence[Link],
        *,
        unresolved: Callable[[Backend], None],
        takes_redirects: Callable[[int], bool],
    ) -> None:
        self._maps = maps
        self._prog = prog
        self._devices = devices
        self._unresolved = unresolved
        self._takes_redirects = takes_redirects

    def problem(self, frontend: Frontend) -> str:
        """The first thing that is wrong with it, empty if nothing is. Raises ``TargetError``."""
        held = readback.read_one(self._maps, frontend.key)
        if held is None:
            return f"{frontend.key}: no entry"
        if held.problem or held.frontend(frontend.key) != frontend:
            return f"{frontend.key}: {held.problem or 'the entry has other backends'}"
        for device in self._devices:
            for wrong in self._probe(frontend.key, held, device):
                return f"{frontend.key} on {device.name}: {wrong}"
        return ""

    def _probe(self, key: FrontendKey, held: Held, device: Link) -> Iterator[str]:
        if not held.entry.serving:
            answer = self._run(key, _FIRST_PORT, device)
            if (answer.verdict, answer.reason) != (Verdict.DROP, PacketReason.NO_BACKEND):
                yield f"a packet without a backend ended as {answer.reason}"
            return
        for port, backend, number in self._aimed(key, held):
            answer = self._run(key, port, device)
            if answer.backend != number:
                yield f"a packet for backend {backend.address}:{backend.port} went to another (id {answer.backend})"
            yield from self._judge(key, port, backend, answer)
            if answer.verdict is Verdict.REDIRECT and device.native and not self._takes_redirects(answer.ifindex):
                yield f"device {answer.ifindex} towards backend {backend.address} takes no packets from native XDP"

    def _run(self, key: FrontendKey, port: int, device: Link) -> probe.Answer:
        frame = packet.build(_flow(key, port), device.address)
        return probe.run(self._prog, device.ifindex, frame)

    def _aimed(self, key: FrontendKey, held: Held) -> Iterator[tuple[int, Backend, int]]:
        """A source port for each backend that serves."""
        row = blocks.read_row(self._maps, held.entry)
        missing = set(range(held.entry.serving)[:_MAX_AIMED])
        for port in range(_FIRST_PORT, 65536):
            if not missing:
                return
            sent = _flow(key, 0 if held.frontend(key).affinity else port)
            value = flow.flow_hash(*sent[:4], key.protocol.number)
            position = row.without_entry(value, opens=key.protocol is Protocol.TCP)
            if position in missing:
                missing.discard(position)
                yield port, *held.ids[position]

    def _judge(self, key: FrontendKey, port: int, backend: Backend, answer: probe.Answer) -> Iterator[str]:
        name = f"backend {backend.address}:{backend.port}"
        if answer.reason is PacketReason.NO_NEIGHBOUR:
            self._unresolved(backend)
            yield f"{name}: its next hop is not resolved yet"
        sent, after = _flow(key, port), packet.parse(answer.frame)
        if backend.local:
            if (answer.verdict, answer.reason) != (Verdict.PASS, PacketReason.LOCAL):
                yield f"{name}: the packet ended as {answer.reason}"
            elif not after or not after.sound or after.flow != _translated(sent, backend) or after.outer:
                yield f"{name}: the packet was not rewritten as it should"
        elif _REMOTE.get(answer.reason) is not answer.verdict:
            yield f"{name}: the packet ended as {answer.reason}"
        elif (
            not after or not after.sound or after.flow != sent or not after.outer or after.outer.dest != backend.address
        ):
            yield f"{name}: the packet was not encapsulated as it should"


def _flow(key: FrontendKey, port: int) -> packet.Flow:
    return packet.Flow(_SOURCES[key.vip.version], port, key.vip, key.port, key.protocol)


def _translated(sent: packet.Flow, backend: Backend) -> packet.Flow:
    return sent._replace(dest=backend.address, dest_port=backend.port)
