"""What the ingress program does beyond the single packet: entries that it leaves, choices that Python must foretell."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import msgspec
import pytest

from announcer.model.lb import Backend
from announcer.model.net import IPAddress, Protocol
from datapath import abi, blocks, encode, flow, packet, probe, shim
from datapath.abi import PacketReason
from datapath.hand import Datapath
from tests.datapath.fixtures.family import SPORT, Family
from tests.datapath.netns import Names, entered
from tests.datapath.node import SMALL, Node, done, frontend, program, proven

pytestmark = pytest.mark.root

PROBE = abi.PROBE.pack(abi.PROBE_MAGIC, 0, 0, 0)
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


class Wire(NamedTuple):
    datapath: Datapath
    prog: int
    ifindex: int
    mac: bytes
    families: dict[int, Family]

    def send(self, family: Family, packet: object, meta: bytes = b"") -> tuple[int, bytes, bytes]:
        return shim.run_xdp(self.prog, self.ifindex, bytes(family.frame(packet)), meta)


@pytest.fixture(scope="module")
def wire(built: None, _swept: None) -> Iterator[Wire]:
    names = Names()
    try:
        node = Node(names)
        with entered(node.netns):
            datapath = node.attached(msgspec.structs.replace(SMALL, decaps=64))
            families = {4: Family(4), 6: Family(6)}
            link = node.link()
            for family in families.values():
                family.node_mac = link.address.hex(":")
                for wanted in family.served[:6]:
                    done(program(datapath, wanted))
            yield Wire(datapath, datapath._prog, link.ifindex, link.address, families)
            node.close()
    finally:
        names.remove()


def reply_key(family: Family, port: int, protocol: int, sport: int = SPORT) -> bytes:
    addresses = encode.address_bytes(family.local), encode.address_bytes(family.client)
    return abi.REPLY_KEY.pack(*addresses, encode.port_bytes(port), encode.port_bytes(sport), protocol)


@VERSIONS
def test_every_checksum_there_can_be(wire: Wire, version: int) -> None:
    """All 65,536 sums of the header and of the datagram, by the lower half of the source address."""
    family = wire.families[version]
    base: IPAddress = IPv4Address(0xC6330000) if version == 4 else IPv6Address("2001:db8:c::")
    expected = packet.Flow(family.client, SPORT, family.local, 5353, Protocol.UDP)
    for word in range(1 << 16):
        source = base + word
        sent = packet.build(packet.Flow(source, SPORT, family.vip, 53, Protocol.UDP), wire.mac)
        after = packet.parse(shim.run_xdp(wire.prog, wire.ifindex, sent, PROBE)[2])
        assert after is not None
        assert after.sound, source
        assert after.flow == expected._replace(source=source)


@VERSIONS
def test_only_a_real_packet_leaves_an_entry(wire: Wire, version: int) -> None:
    family, maps = wire.families[version], wire.datapath._loaded.maps
    sport = 41000 + version
    sent = bytes(family.frame(family.tcp(sport=sport)))
    before = set(maps.replies_new.dump())
    probe.run(wire.prog, wire.ifindex, sent)
    assert set(maps.replies_new.dump()) == before
    shim.run_xdp(wire.prog, wire.ifindex, sent, b"")
    key = reply_key(family, 8080, 6, sport)
    value = abi.REPLY.pack(encode.address_bytes(family.vip), encode.port_bytes(80), 0, bytes(4))
    assert {k: v for k, v in maps.replies_new.dump().items() if k not in before} == {key: value}


def test_metadata_without_the_mark_is_a_packet_like_any_other(wire: Wire) -> None:
    before = wire.datapath.counters()
    _, meta, _ = wire.send(wire.families[4], wire.families[4].tcp(), b"\1" * 16)
    assert meta == b"\1" * 16
    assert wire.datapath.counters()["local"] == before["local"] + 1


@VERSIONS
def test_the_program_and_python_choose_the_same_backend(wire: Wire, version: int) -> None:
    """Over all backends and many flows; the row is read as the program reads it."""
    family = wire.families[version]
    backends = [Backend(family.local + i, 8080, True) for i in range(7)]
    wanted = frontend(*backends, vip=family.vip, port=8443)
    done(program(wire.datapath, wanted))
    maps = wire.datapath._loaded.maps
    held = wire.datapath._tables.look(wanted.key)
    assert held is not None
    row = blocks.read_row(maps, held.entry)
    seen = set()
    for port in range(1024, 3072):
        source = family.client + port % 97
        expected = held.ids[row.owner(flow.flow_hash(source, port, family.vip, 8443, 6))][1]
        sent = packet.build(packet.Flow(source, port, family.vip, 8443, Protocol.TCP), wire.mac)
        assert probe.run(wire.prog, wire.ifindex, sent).backend == expected
        seen.add(expected)
    assert len(seen) == 7


@VERSIONS
def test_with_affinity_the_client_alone_decides(wire: Wire, version: int) -> None:
    family = wire.families[version]
    backends = sorted(Backend(family.local + i, 8080, True) for i in range(7))
    wanted = frontend(*backends, vip=family.vip, port=8444, affinity=True)
    done(program(wire.datapath, wanted))
    proven(wire.datapath, wanted)
    seen = set()
    for i in range(40):
        flows = [packet.Flow(family.client + i, port, family.vip, 8444, Protocol.TCP) for port in (1, 2, 50000)]
        chosen = {probe.run(wire.prog, wire.ifindex, packet.build(each, wire.mac)).backend for each in flows}
        assert len(chosen) == 1
        seen |= chosen
    assert len(seen) > 3


@VERSIONS
def test_a_connection_is_on_probation_until_the_client_acknowledged_the_backend(wire: Wire, version: int) -> None:
    family, maps = wire.families[version], wire.datapath._loaded.maps
    egress = wire.datapath._loaded.programs["lb_egress"].fd
    sport = 42000 + version
    key = reply_key(family, 8080, 6, sport)

    def client(flags: str, ack: int) -> None:
        packet = family.tcp(sport=sport, flags=flags)
        packet.payload.ack = ack
        wire.send(family, packet)

    client("S", 0)
    client("A", 0)  # nobody has said anything yet
    assert maps.replies_new.get(key)
    answer = family.tcp(sport, sport=8080, src=family.local, dst=family.client, flags="SA")
    answer.payload.seq = 0xFFFFFFFF
    shim.run_tc(egress, bytes(family.frame(answer)))
    client("A", 12345)  # a guess
    assert maps.replies.get(key) is None
    client("A", 0)
    assert maps.replies.get(key)
    assert maps.replies_new.get(key) is None
    # And then the entry is found where it is.
    client("A", 77)
    assert maps.replies_new.get(key) is None
    _, out = shim.run_tc(egress, bytes(family.frame(answer)))
    assert packet.parse(out).flow.source == family.vip  # type: ignore[union-attr]


@VERSIONS
def test_an_association_is_on_probation_until_the_backend_has_seen_its_cookie(wire: Wire, version: int) -> None:
    family, maps = wire.families[version], wire.datapath._loaded.maps
    egress, key = wire.datapath._loaded.programs["lb_egress"].fd, reply_key(family, 36422, 132)
    wire.send(family, family.sctp(36412, bytes([1, 0, 0, 20]) + bytes(16)))
    for chunk, table in ((2, maps.replies_new), (11, maps.replies)):
        data = bytes([chunk, 0, 0, 4])
        answer = family.sctp(SPORT, data, sport=36422, src=family.local, dst=family.client)
        verdict, _ = shim.run_tc(egress, bytes(family.frame(answer)))
        assert verdict == 0xFFFFFFFF
        assert table.get(key)


def test_a_flood_of_forged_connections_evicts_no_established_one(node: Node) -> None:
    """Five times what the table of new connections holds."""
    family = Family(4)
    datapath = node.attached()
    family.node_mac = node.link().address.hex(":")
    done(program(datapath, family.served[0]))
    maps, prog, ifindex = datapath._loaded.maps, datapath._prog, node.link().ifindex
    keys = [reply_key(family, 8080, 6, sport) for sport in range(1000, 1200)]
    value = abi.REPLY.pack(encode.address_bytes(family.vip), encode.port_bytes(80), 0, bytes(4))
    for key in keys:
        maps.replies.put(key, value)
    mac = node.link().address
    for i in range(5 * SMALL.replies_new):
        forged = packet.Flow(family.client + i % 1000, 2000 + i // 1000, family.vip, 80, Protocol.TCP)
        shim.run_xdp(prog, ifindex, packet.build(forged, mac), b"")
    assert all(maps.replies.get(key) == value for key in keys)
    assert 0 < len(maps.replies_new.dump()) <= SMALL.replies_new


def test_echo_can_be_switched_off(node: Node) -> None:
    family = Family(4)
    datapath = Datapath(bpffs=node.bpffs, limits=SMALL, echo=False)
    datapath.open()
    try:
        done(program(datapath, family.served[0]))
        answer = probe.run(datapath._prog, node.link().ifindex, bytes(family.frame(family.echo())))
        assert answer.reason is PacketReason.ICMP
    finally:
        datapath.close()
