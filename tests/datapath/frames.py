"""Frames for the ingress program, made by scapy, and what should come out."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from tests.datapath.node import CLIENT, LOCAL, NODE, REMOTE, VIP

SENDER = "02:00:00:00:00:99"


def tcp(dport: int = 80, payload: bytes = b"", dst: object = VIP, sport: int = 40000, **ip: Any) -> Any:
    return IP(src=str(CLIENT), dst=str(dst), **ip) / TCP(sport=sport, dport=dport, seq=7, flags="S") / payload


def udp(
    dport: int = 53, payload: bytes = b"", dst: object = VIP, sport: int = 40000, check: int | None = None, **ip: Any
) -> Any:
    return IP(src=str(CLIENT), dst=str(dst), **ip) / UDP(sport=sport, dport=dport, chksum=check) / payload


def raw(packet: Any) -> Any:
    """With lengths and checksums filled in, so that they stay when the packet is put into another."""
    return IP(bytes(packet))


def ipip(inner: Any, dst: object = LOCAL.address, **outer: Any) -> Any:
    return IP(src="192.168.1.22", dst=str(dst), proto=4, **outer) / inner


def frame(packet: Any, to: bytes) -> bytes:
    return bytes(Ether(src=SENDER, dst=to.hex(":"), type=0x0800) / packet)


def translated(packet: Any, port: int = LOCAL.port) -> Any:
    """To the local backend: checksums as scapy computes them for the new addresses, none where there was none."""
    new = IP(bytes(packet))
    new[IP].dst = str(LOCAL.address)
    layer = TCP if TCP in new else UDP
    new[layer].dport = port
    del new[IP].chksum
    if layer is TCP or new[layer].chksum:
        del new[layer].chksum
    return new


def encapsulated(packet: Any) -> Any:
    inner = IP(bytes(packet))
    tos = inner.tos
    inner.ttl -= 1
    del inner.chksum
    return IP(src=str(NODE), dst=str(REMOTE.address), id=0, flags="DF", ttl=64, proto=4, tos=tos) / inner
