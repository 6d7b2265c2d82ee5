"""The egress program, packet by packet, by BPF_PROG_TEST_RUN (through bpftool: only tests need it for tc)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from announcer.model.errors import TargetError
from datapath import abi
from datapath.hand import Datapath
from tests.datapath.netns import Names, entered
from tests.datapath.node import CLIENT, LOCAL, SMALL, VIP, Node

pytestmark = pytest.mark.root

NEXT, DROP = 0xFFFFFFFF, 2
CLIENT_PORT = 40000
#: Each CPU takes free places of an LRU map by the hundred, and of a small one it evicts what was just put in.
ROOMY = msgspec.structs.replace(SMALL, replies=16384)


def remember(datapath: Datapath, protocol: int) -> None:
    """As the ingress program does for a packet from CLIENT:40000 to VIP:80."""
    key = abi.REPLY_KEY.pack(
        LOCAL.address.packed,
        CLIENT.packed,
        LOCAL.port.to_bytes(2, "big"),
        CLIENT_PORT.to_bytes(2, "big"),
        protocol,
    )
    datapath._loaded.maps.replies.put(key, abi.REPLY.pack(VIP.packed, (80).to_bytes(2, "big")))


def ether(packet: Any, kind: int = 0x0800) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=kind) / packet)


def tcp(
    payload: bytes = b"", sport: int = 8080, dport: int = CLIENT_PORT, src: object = LOCAL.address, **ip: Any
) -> Any:
    return IP(src=str(src), dst=str(CLIENT), **ip) / TCP(sport=sport, dport=dport, seq=9, ack=8, flags="SA") / payload


def udp(payload: bytes = b"", check: int | None = None, **ip: Any) -> Any:
    return (
        IP(src=str(LOCAL.address), dst=str(CLIENT), **ip) / UDP(sport=8080, dport=CLIENT_PORT, chksum=check) / payload
    )


def translated(packet: Any) -> Any:
    new = IP(bytes(packet))
    new.src = str(VIP)
    layer = TCP if TCP in new else UDP
    new[layer].sport = 80
    del new.chksum
    if layer is TCP or new[layer].chksum:
        del new[layer].chksum
    return new


class Tc:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.datapath = node.datapath(ROOMY)

    def run(self, frame: bytes) -> tuple[int, bytes, dict[str, int]]:
        folder = self.node.bpffs.parent
        (folder / "in").write_bytes(frame)
        before = self.datapath.counters()
        pin = str(self.node.bpffs / "progs" / "lb_egress")
        files = ["data_in", str(folder / "in"), "data_out", str(folder / "out")]
        answer = json.loads(self.node.run("bpftool", "-j", "prog", "run", "pinned", pin, *files))
        after = self.datapath.counters()
        moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        return answer["retval"], (folder / "out").read_bytes(), moved


@pytest.fixture(scope="module")
def opened(built: None, _swept: None) -> Iterator[Tc]:
    names = Names()
    try:
        node = Node(names)
        with entered(node.netns):
            yield Tc(node)
            node.close()
    finally:
        names.remove()


@pytest.fixture
def tc(opened: Tc) -> Tc:
    for protocol in (6, 17):
        remember(opened.datapath, protocol)
    return opened


def mangled_to_zero() -> Any:
    word = IP(bytes(translated(udp(bytes(2)))))[UDP].chksum
    return udp(word.to_bytes(2, "big"))


REPLIES: dict[str, Callable[[], Any]] = {
    "tcp": tcp,
    "tcp payload": lambda: tcp(b"HTTP/1.1 200 OK\r\n\r\n"),
    "tcp odd payload": lambda: tcp(b"abc"),
    "tcp with options in the ip header": lambda: tcp(b"abc", options=b"\x94\x04\x00\x00"),
    "tcp ttl and tos stay": lambda: tcp(ttl=63, tos=0xB9),
    "udp": lambda: udp(b"hello"),
    "udp without checksum": lambda: udp(b"hello", check=0),
    "udp whose checksum becomes zero": mangled_to_zero,
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_gets_the_vip_back(tc: Tc, name: str) -> None:
    sent = REPLIES[name]()
    verdict, out, moved = tc.run(ether(sent))
    assert (verdict, moved) == (NEXT, {"reply": 1})
    assert out.hex() == ether(translated(sent)).hex()


def test_the_zero_checksum_case_is_one() -> None:
    assert IP(bytes(translated(mangled_to_zero())))[UDP].chksum == 0xFFFF


OTHERS: dict[str, bytes] = {
    "to another client port": ether(tcp(dport=CLIENT_PORT + 1)),
    "from another port": ether(tcp(sport=8081)),
    "from another pod": ether(tcp(src=LOCAL.address + 1)),
    "to another client": ether(IP(src=str(LOCAL.address), dst="198.51.100.11") / TCP(sport=8080, dport=CLIENT_PORT)),
    "ping": ether(IP(src=str(LOCAL.address), dst=str(CLIENT)) / ICMP()),
    "a later fragment": ether(udp(b"x" * 8, frag=10)),
    "ipv6": ether(IPv6(dst="2001:db8::1") / TCP(sport=8080, dport=CLIENT_PORT), 0x86DD),
    "ports cut off": ether(tcp())[: 14 + 20 + 2],
    "header length below 5": ether(tcp(ihl=4)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_untouched(tc: Tc, name: str) -> None:
    verdict, out, moved = tc.run(OTHERS[name])
    assert (verdict, moved) == (NEXT, {})
    assert out.hex() == OTHERS[name].hex()


def test_a_fragmented_reply_is_dropped(tc: Tc) -> None:
    """Its later fragments carry no ports: half of it would arrive from another address."""
    verdict, _, moved = tc.run(ether(udp(b"x" * 8, flags="MF")))
    assert (verdict, moved) == (DROP, {"reply_fragment": 1})


def test_a_reply_whose_checksum_is_cut_off_is_not_sent(tc: Tc) -> None:
    verdict, _, moved = tc.run(ether(tcp())[: 14 + 20 + 10])
    assert (verdict, moved) == (DROP, {"reply_error": 1})


def test_the_table_makes_room_for_new_replies(node: Node) -> None:
    datapath = node.datapath(SMALL)
    try:
        for port in range(1, 1000):
            key = abi.REPLY_KEY.pack(LOCAL.address.packed, CLIENT.packed, bytes(2), port.to_bytes(2, "big"), 6)
            datapath._loaded.maps.replies.put(key, bytes(abi.REPLY.size))
    except TargetError as error:
        pytest.fail(str(error))
