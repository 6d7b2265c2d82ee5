"""What really went over the wire: tcpdump in the router's namespace, and the BGP messages in what it caught."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.bgpd.inside import inside
from tests.lab.host import Host
from tests.lab.poll import until

#: Each packet takes the room of the longest, so that there is room for 8 by default; what finds none is lost. This is
#: for 500 whole ones, in KiB, while tcpdump does not run.
_ROOM = ("-s", "65550", "-B", "32768")
_GLOBAL_HEADER = 24
_RECORD = struct.Struct("=IIII")
#: Ethernet, IPv4 and TCP without options: to nobody's link address, so that every host drops it.
_MARK = struct.Struct("!6s6sHBBHHHBBH4s4sHH4sIHHHH")


@dataclass(frozen=True)
class Caught:
    """One BGP message. ``time``: Unix seconds at which the packet that completed it passed."""

    time: float
    source: str
    destination: str
    kind: int
    body: bytes


class Capture:
    """Records BGP on ``device`` of ``host`` until :meth:`stop`; only with ``peer``, an address, if it is given."""

    def __init__(self, host: Host, device: str, file: Path, peer: str = "") -> None:
        self._host, self._device, self._file, self._peer = host, device, file, peer
        self._process = host.popen(
            ["tcpdump", "-Z", "root", "--immediate-mode", "-U", "-n", *_ROOM, "-i", device,
             "-w", file, "tcp port 179" + (f" and host {peer}" if peer else "")],
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stderr is not None
        while "listening on" not in (line := self._process.stderr.readline()):
            assert line, "tcpdump ended before it listened"

    def stop(self) -> list[Caught]:
        """End the recording; every complete BGP message that passed before, in order of time.

        A stream is followed from the first packet seen. If that is in the middle of a session, it begins with a
        message, because each side writes whole messages.
        """
        mark = self._send_mark()  # tcpdump ends without what it has not yet come to
        until(lambda: mark in self._file.read_bytes(), "tcpdump has read all that passed")
        self._process.terminate()
        _, said = self._process.communicate()
        assert "\n0 packets dropped" in said, said
        return self.so_far()

    def so_far(self) -> list[Caught]:
        """What was caught until now; see :meth:`stop`."""
        return sorted(_messages(_segments(self._file.read_bytes())), key=lambda caught: caught.time)

    def _send_mark(self) -> bytes:
        """Have a packet pass that the filter takes and that is no message; the kernel keeps the order."""
        address = IPv4Address(self._peer or 0).packed
        ethernet = (b"\x02" + bytes(4) + b"\x01", bytes(6), 0x0800)
        ip = (0x45, 0, 40, 0, 0, 1, socket.IPPROTO_TCP, 0, address, address)
        mark = _MARK.pack(*ethernet, *ip, 179, 179, os.urandom(4), 0, 5 << 12, 0, 0, 0)
        with inside(self._host.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender:
            sender.bind((self._device, 0))
            sender.send(mark)
        return mark


_Streams = dict[tuple[bytes, bytes, bytes], list[tuple[float, int, bytes]]]


def _segments(pcap: bytes) -> _Streams:
    """TCP payloads by source, destination and ports: time, sequence number, bytes."""
    streams: _Streams = {}
    at = _GLOBAL_HEADER
    while at + _RECORD.size <= len(pcap):
        seconds, micros, length, _ = _RECORD.unpack_from(pcap, at)
        if at + _RECORD.size + length > len(pcap):
            break  # it is being written
        frame = pcap[at + _RECORD.size : at + _RECORD.size + length]
        at += _RECORD.size + length
        packet = frame[14:]
        tcp = packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")]
        payload = tcp[(tcp[12] >> 4) * 4 :]
        if payload:
            key = (packet[12:16], packet[16:20], tcp[:4])
            streams.setdefault(key, []).append((seconds + micros / 1e6, int.from_bytes(tcp[4:8], "big"), payload))
    return streams


def _messages(streams: _Streams) -> list[Caught]:
    found = []
    for (source, destination, _), segments in streams.items():
        expected = segments[0][1]
        buffer = b""
        for time, sequence, payload in segments:
            skip = (expected - sequence) & 0xFFFFFFFF
            if skip >= len(payload) and skip:
                continue  # sent again
            buffer += payload[skip:]
            expected = (sequence + len(payload)) & 0xFFFFFFFF
            while len(buffer) >= 19 and len(buffer) >= (size := int.from_bytes(buffer[16:18], "big")):
                ends = [".".join(map(str, address)) for address in (source, destination)]
                found.append(Caught(time, ends[0], ends[1], buffer[18], buffer[19:size]))
                buffer = buffer[size:]
    return found
