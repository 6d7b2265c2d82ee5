"""What really went over the wire: tcpdump in the router's namespace, and the BGP messages in what it caught."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import Host

_GLOBAL_HEADER = 24
_RECORD = struct.Struct("=IIII")


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
        self._file = file
        self._process = host.popen(
            ["tcpdump", "-Z", "root", "--immediate-mode", "-U", "-n", "-s", "0",
             "-i", device, "-w", file, "tcp port 179" + (f" and host {peer}" if peer else "")],
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stderr is not None
        while "listening on" not in (line := self._process.stderr.readline()):
            assert line, "tcpdump ended before it listened"

    def stop(self) -> list[Caught]:
        """End the recording; every complete BGP message in it, in order of time.

        A stream is followed from the first packet seen. If that is in the middle of a session, it begins with a
        message, because each side writes whole messages.
        """
        self._process.terminate()
        self._process.communicate()
        return self.so_far()

    def so_far(self) -> list[Caught]:
        """What was caught until now; see :meth:`stop`."""
        return sorted(_messages(_segments(self._file.read_bytes())), key=lambda caught: caught.time)


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
