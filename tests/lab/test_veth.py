"""What veth needs so that frames from native XDP arrive; with the control that shows them vanish without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, Node

pytestmark = [pytest.mark.root, pytest.mark.lab]

FRAMES = 50

# Sends FRAMES frames out of the router's port and counts those that come back; 0.5 s after the last one it is over.
SENDER = f"""
import socket, sys
kind = 0x88b5
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
port.settimeout(0.5)
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
out.bind((sys.argv[1], 0))
mac = out.getsockname()[4]
back = 0
for n in range({FRAMES}):
    out.send(b"\\x02" + bytes(5) + mac + kind.to_bytes(2, "big") + n.to_bytes(46, "big"))
    try:
        back += port.recv(2048)[14:60] == n.to_bytes(46, "big")
    except TimeoutError:
        break
print(back)
"""


@pytest.fixture(scope="module")
def reflector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bpf") / "reflect.o"
    source = Path(__file__).with_name("reflect.bpf.c")
    subprocess.run(["clang", "-O2", "-target", "bpf", "-c", source, "-o", target], check=True)
    return target


def reflected(lab: Lab, node: Node) -> int:
    return int(lab.router.run([sys.executable, "-S", "-c", SENDER, node.name]).stdout)


# What the router's port needs for all frames to come back in time: (XDP program, GRO).
NEEDED = {"tx": {(True, True), (True, False)}, "redirect": {(True, True), (True, False), (False, True)}}


@pytest.mark.parametrize("way", ["tx", "redirect"])
def test_frames_of_native_xdp_arrive_as_the_lab_is_built_and_vanish_otherwise(reflector: Path, way: str) -> None:
    with Lab(nodes=1, pods=0) as lab:
        (node,) = lab.nodes
        node.run(["ip", "link", "set", "dev", "eth0", "xdpdrv", "obj", reflector, "sec", way])
        seen: dict[tuple[bool, bool], int] = {}
        for program in (True, False):
            if not program:
                lab.router.run(["ip", "link", "set", "dev", node.name, "xdpdrv", "off"])
            for gro in (True, False):
                lab.router.run(["ethtool", "-K", node.name, "gro", "on" if gro else "off"])
                seen[program, gro] = reflected(lab, node)
        assert {port for port, frames in seen.items() if frames == FRAMES} == NEEDED[way]
        assert seen[False, False] == 0


def test_offloads_of_every_link() -> None:
    with Lab(nodes=2, pods=1) as lab:
        ends = [(lab.client, "eth0"), (lab.router, "client")]
        ends += [(lab.router, node.name) for node in lab.nodes]
        ends += [(node, device) for node in lab.nodes for device in ("eth0", "p1")]
        ends += [(pod, "eth0") for pod in lab.pods]
        for host, device in ends:
            features = host.run(["ethtool", "-k", device]).stdout
            for line in ("tx-checksumming: off", "tcp-segmentation-offload: off", "generic-receive-offload: on"):
                assert line in features, f"{host.name} {device}"
