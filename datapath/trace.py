"""Where would this packet go? It is run through the attached program, and not sent."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from announcer.model.errors import TargetError
from announcer.model.lb import Backend, FrontendKey
from announcer.model.net import IPAddress, IPNetwork, Protocol
from datapath import packet, probe, readback
from datapath.abi import PacketReason, Verdict
from datapath.maps import Maps
from datapath.packet import Encapsulation
from datapath.readback import Held
from datapath.rtnl import Link, Rtnl


class TraceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The packet to follow; ``device`` by name, None: the one towards ``source``, or else the first attached one."""

    source: IPAddress
    source_port: int
    dest: IPAddress
    dest_port: int
    protocol: Protocol = Protocol.TCP
    device: str | None = None


class TracePacket(msgspec.Struct, frozen=True, kw_only=True):
    """The packet as it left the program. ``outer``: source and destination of the IP header around it, and whether that
    is of IP in IP or Geneve; ``outer_backend``: the backend that Geneve names.
    """

    source: IPAddress
    source_port: int
    dest: IPAddress
    dest_port: int
    protocol: Protocol
    outer_source: IPAddress | None = None
    outer_dest: IPAddress | None = None
    outer_kind: Encapsulation | None = None
    outer_backend: IPAddress | None = None
    hex: str = ""


class TraceResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the program did. ``problem`` is not empty if there was no answer; then only it has a meaning.

    ``reason`` is the name of the counter that a real packet would have moved. ``frontend``: the one that the packet
    matches, and ``source_ranges`` the clients that it lets in (None: everybody).
    ``leaves_by``: the device that an encapsulated packet would leave by.
    """

    device: str = ""
    verdict: Verdict = Verdict.ABORTED
    reason: PacketReason = PacketReason.NOT_OURS
    frontend: FrontendKey | None = None
    source_ranges: tuple[IPNetwork, ...] | None = None
    backend: Backend | None = None
    leaves_by: str = ""
    packet: TracePacket | None = None
    problem: str = ""


def pick(rtnl: Rtnl, request: TraceRequest, devices: list[Link]) -> Link:
    """The device by which the packet comes in. Raises ``TargetError``."""
    if request.device is not None:
        found = [device for device in devices if device.name == request.device]
        if not found:
            raise TargetError("trace", detail=f"{request.device} is not an ingress device", retry=False)
        return found[0]
    if not devices:
        raise TargetError("trace", detail="there is no ingress device")
    route = rtnl.route(request.source)
    return next((device for device in devices if route and device.ifindex == route.ifindex), devices[0])


def run(
    maps: Maps,
    look: Callable[[FrontendKey], Held | None],
    prog: int,
    rtnl: Rtnl,
    device: Link,
    request: TraceRequest,
) -> TraceResult:
    """Follow one packet. ``look``: a frontend as it stands in the maps. Raises ``TargetError``."""
    source, dest = request.source, request.dest
    if source.version != dest.version:
        raise TargetError("trace", detail=f"{source} and {dest} are of different families", retry=False)
    flow = packet.Flow(source, request.source_port, dest, request.dest_port, request.protocol)
    answer = probe.run(prog, device.ifindex, packet.build(flow, device.address))
    key = FrontendKey(dest, request.protocol, request.dest_port)
    held = look(key)
    backend = readback.backend_at(maps, answer.backend)
    leaves_by = rtnl.link(answer.ifindex) if answer.ifindex else None
    return TraceResult(
        device=device.name,
        verdict=answer.verdict,
        reason=answer.reason,
        frontend=key if held else None,
        source_ranges=held.ranges if held else None,
        backend=backend[0] if backend else None,
        leaves_by=leaves_by.name if leaves_by else "",
        packet=_packet(answer.frame),
    )


def _packet(frame: bytes) -> TracePacket | None:
    parsed = packet.parse(frame)
    if parsed is None:
        return None
    flow, outer = parsed.flow, parsed.outer
    return TracePacket(
        source=flow.source,
        source_port=flow.source_port,
        dest=flow.dest,
        dest_port=flow.dest_port,
        protocol=flow.protocol,
        outer_source=outer.source if outer else None,
        outer_dest=outer.dest if outer else None,
        outer_kind=outer.kind if outer else None,
        outer_backend=outer.backend if outer else None,
        hex=frame.hex(),
    )
