"""The programs that are compared, each behind the one that restores the packet."""

from __future__ import annotations

import struct
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from announcer.model.lb import FrontendKey
from announcer.model.net import IPAddress, Protocol
from datapath import shim
from tests.bench.testrun import Run, run

FRAME = 80
#: ``struct scene`` of scene.h.
_SCENE = struct.Struct(f"={FRAME}sIIIHHHH")
_ZERO = bytes(4)
#: Offsets of the source port and of the last four bytes of source and destination address.
_PLACES = {4: (14 + 20, 14 + 12, 14 + 16), 6: (14 + 40, 14 + 8 + 12, 14 + 24 + 12)}
#: Of each family: 1,024 together.
_REFERENCE_SERVICES = 512


def flow_of(packet: int, flows: int) -> int:
    """Of which flow a packet is, as ``flow_of`` of scene.h has it."""
    mask = flows - 1
    mixed = packet * 0x9E3779B1 & mask
    return (mixed ^ mixed >> 7) * 0x85EBCA6B & mask


def compiled(source: str, folder: Path) -> Path:
    """The object of a source file that stands here. Raises ``CalledProcessError``."""
    made = (folder / source).with_suffix(".o")
    headers = subprocess.run(["cc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
    flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", f"-I/usr/include/{headers}"]
    subprocess.run(["clang", *flags, "-c", Path(__file__).with_name(source), "-o", made], check=True)
    return made


class Scenes:
    """The map of scene.h in a loaded object: which packets are made."""

    def __init__(self, loaded: Any) -> None:
        self._map = shim.map_fd(loaded, "scenes")

    def put(self, frame: bytes, *, flows: int, services: int, replies: bool = False) -> None:
        """From now on packets like ``frame``, of ``flows`` flows (a power of two), in the order of :func:`flow_of`.

        ``services``: they are spread over so many destination addresses; 0 leaves the frame's own. ``replies``: flows
        differ in the destination port, which is 1 more than the flow's number, and in nothing else.
        """
        assert len(frame) == FRAME, f"{len(frame)} bytes"
        port_at, source_at, destination_at = _PLACES[frame[14] >> 4]
        if replies:
            port_at, source_at = port_at + 2, FRAME - 4  # the end of what is carried
        scene = _SCENE.pack(frame, flows, services, 0, port_at, source_at, destination_at, int(replies))
        shim.update(self._map, _ZERO, scene, "scenes")


class Forwarders:
    """``nothing`` and ``reference``, and any other program by its descriptor."""

    def __init__(self, folder: Path, ifindex: int) -> None:
        """Builds and loads what is here; packets come in by the device ``ifindex``."""
        self._object: Any = shim.open_object(compiled("forwarder.bpf.c", folder))
        shim.load(self._object)
        self._ifindex = ifindex
        self.nothing = shim.prog_fd(self._object, "nothing")
        self.reference = shim.prog_fd(self._object, "reference")
        self._restore = shim.prog_fd(self._object, "restore")
        self._scenes = Scenes(self._object)
        self._slot = shim.map_fd(self._object, "under_test")
        self._services = shim.map_fd(self._object, "services")

    def teach_reference(self, frontend: FrontendKey, source: IPAddress, target: IPAddress) -> None:
        """Let the reference forward one frontend, the first of the 512 of its family."""
        value = source.packed.ljust(16, b"\0") + target.packed.ljust(16, b"\0")
        self._put_service(frontend, value)
        for number in range(1, _REFERENCE_SERVICES):
            other = ip_address(int(frontend.vip) + number)
            self._put_service(FrontendKey(other, Protocol.TCP, frontend.port), value)

    def _put_service(self, frontend: FrontendKey, value: bytes) -> None:
        key = frontend.vip.packed.ljust(16, b"\0") + frontend.port.to_bytes(2, "big") + bytes([6, 0, 0, 0, 0, 0])
        shim.update(self._services, key, value, "services")

    def run(self, prog: int, frame: bytes, *, flows: int, services: int, repeat: int, replies: bool = False) -> Run:
        """``repeat`` packets of ``flows`` flows (a power of two) through the program. Raises ``OSError``.

        ``services``, ``replies``: see :meth:`Scenes.put`.
        """
        self._scenes.put(frame, flows=flows, services=services, replies=replies)
        shim.update(self._slot, _ZERO, struct.pack("=I", prog), "under_test")
        return run(self._restore, self._ifindex, frame, repeat)
