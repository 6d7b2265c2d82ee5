"""The fixture table (``fixtures/``) through the programs by BPF_PROG_TEST_RUN.

Every ingress row is run twice: as a packet from the wire, which is counted, and marked as a probe, which is not; both
must end the same way with the same packet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from announcer.model.lb import PortRange
from datapath import abi, encode, probe, shim
from datapath.abi import PacketReason, Verdict
from tests.datapath.fixtures import (
    egress,
    ingress_flows,
    ingress_fragments,
    ingress_geneve,
    ingress_icmp,
    ingress_refused,
    ingress_rejected,
    ingress_snat,
    ingress_sources,
    ingress_tunnels,
)
from tests.datapath.fixtures.family import SNAT_PORT, SPORT, Family, is_frame
from tests.datapath.fixtures.row import Row, same
from tests.datapath.netns import Names, entered
from tests.datapath.node import SMALL, Node, done, moved, program, proven

pytestmark = pytest.mark.root

INGRESS = {
    "flows": ingress_flows.ROWS,
    "fragments": ingress_fragments.ROWS,
    "geneve": ingress_geneve.ROWS,
    "icmp": ingress_icmp.ROWS,
    "refused": ingress_refused.ROWS,
    "sources": ingress_sources.ROWS,
    "rejected": ingress_rejected.ROWS,
    "snat": ingress_snat.ROWS,
    "tunnels": ingress_tunnels.ROWS,
}
LIMITS = msgspec.structs.replace(SMALL, frontends=64, row_pages=128)
#: Tags, and the device that stands in for a VLAN device: this kernel may have no driver for them.
VLANS = {(5, 0): "pod", (5, 6): "pod", (7, 0): "pod", (7, 8): "pod", (9, 0): "eth0", (9, 10): "eth0"}
#: TCX_NEXT and TCX_DROP.
EGRESS_VERDICTS = {0xFFFFFFFF: "next", 2: "drop"}


def both(row: Row) -> list[int]:
    return [version for version in (4, 6) if row.only in (0, version)]


def cases(tables: dict[str, list[Row]]) -> list[object]:
    return [
        pytest.param(row, version, id=f"{table}: {row.name}, IPv{version}")
        for table, rows in tables.items()
        for row in rows
        for version in both(row)
    ]


class Wire:
    """A node that serves ``Family.served`` in both families."""

    def __init__(self, node: Node) -> None:
        self.families = {4: Family(4), 6: Family(6)}
        self.datapath = node.attached(LIMITS, snat_ports=PortRange(SNAT_PORT, SNAT_PORT))
        self.link = node.link()
        with entered(node.router):
            router = node.link("e0").address.hex(":")
        maps = self.datapath._loaded.maps
        for tags, device in VLANS.items():
            maps.vlans.put(abi.VLAN_KEY.pack(self.link.ifindex, *tags), abi.VLAN.pack(node.link(device).ifindex))
        for family in self.families.values():
            family.node_mac, family.router_mac = self.link.address.hex(":"), router
            for wanted in family.served:
                done(program(self.datapath, wanted))
            for wanted in family.served:
                proven(self.datapath, wanted)

    def forget_snat(self) -> None:
        """There is one port for all rows."""
        maps = self.datapath._loaded.maps
        for table in (maps.snat_flows, maps.snat_ports):
            for key in table.dump():
                table.remove(key)


@pytest.fixture(scope="module")
def wire(built: None, _swept: None) -> Iterator[Wire]:
    names = Names()
    try:
        node = Node(names)
        with entered(node.netns):
            yield Wire(node)
            node.close()
    finally:
        names.remove()


def frame(family: Family, packet: Any) -> bytes:
    return bytes(packet if is_frame(packet) else family.frame(packet))


@pytest.mark.parametrize(("row", "version"), cases(INGRESS))
def test_ingress(wire: Wire, row: Row, version: int) -> None:
    family, prog, ifindex = wire.families[version], wire.datapath._prog, wire.link.ifindex
    wire.forget_snat()
    for earlier in row.before:
        shim.run_xdp(prog, ifindex, frame(family, earlier(family)), b"")
    sent = frame(family, row.send(family))
    before = wire.datapath.counters()
    verdict, _, out = shim.run_xdp(prog, ifindex, sent, b"")
    assert (str(tuple(Verdict)[verdict]), moved(wire.datapath, before)) == (row.verdict, {row.reason: 1})
    if row.get is not None:
        assert out.hex() == (sent if row.get is same else frame(family, row.get(family))).hex()
    before = wire.datapath.counters()
    answer = probe.run(prog, ifindex, sent)
    assert (answer.verdict, answer.reason, answer.frame) == (row.verdict, row.reason, out)
    assert moved(wire.datapath, before) == {}


@pytest.mark.parametrize(("row", "version"), cases({"egress": egress.ROWS}))
def test_egress(wire: Wire, row: Row, version: int) -> None:
    family, maps = wire.families[version], wire.datapath._loaded.maps
    prog = wire.datapath._loaded.programs["lb_egress"].fd
    for number, table in ((6, maps.replies), (17, maps.replies_udp), (132, maps.replies_new)):
        backend, port = next((b, v) for b, v in egress.SERVES.items() if {6: 8080, 17: 5353, 132: 36422}[number] == b)
        key = abi.REPLY_KEY.pack(
            encode.address_bytes(family.local),
            encode.address_bytes(family.client),
            encode.port_bytes(backend),
            encode.port_bytes(SPORT),
            number,
        )
        table.put(key, abi.REPLY.pack(encode.address_bytes(family.vip), encode.port_bytes(port), 0, bytes(4)))
    for earlier in row.before:
        shim.run_tc(prog, frame(family, earlier(family)))
    sent = frame(family, row.send(family))
    before = wire.datapath.counters()
    verdict, out = shim.run_tc(prog, sent)
    reason = {} if row.reason == "-" else {row.reason: 1}
    assert (EGRESS_VERDICTS[verdict], moved(wire.datapath, before)) == (row.verdict, reason)
    assert row.get is not None
    assert out.hex() == (sent if row.get is same else frame(family, row.get(family))).hex()


def test_the_table_is_as_large_as_it_should_be_and_knows_every_reason() -> None:
    rows = [(row, version) for table in [*INGRESS.values(), egress.ROWS] for row in table for version in both(row)]
    assert len(rows) >= 300
    names = Counter((row.name, row.send) for row, _ in rows)
    assert max(names.values()) <= 2
    here = {row.reason for row, _ in rows} - {"-"}
    elsewhere = {"no_route", "no_neighbour", "forwarding_off", "bad_row"}  # test_conditions
    elsewhere |= {"unassigned"}  # test_guard
    elsewhere |= {"no_snat_port"}  # test_snat
    # The kernel would have to fail.
    never_seen = {"no_reply_entry", "no_fragment_entry", "no_headroom", "reply_error"}
    assert here | elsewhere | never_seen == {str(reason) for reason in PacketReason}
    assert not here & elsewhere
