"""A good proof is made anew with the same packets, and with as little else as can be."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from announcer.model.lb import Backend, Frontend, Mode
from announcer.model.net import Protocol
from datapath import abi, hand, packet, probe, shim
from datapath.hand import Datapath
from datapath.links import Links
from datapath.packet import Flow
from tests.datapath.node import (
    BEHIND,
    LOCAL,
    LOCAL6,
    REMOTE,
    REMOTE6,
    ROUTER,
    VIP6,
    Node,
    done,
    failed,
    frontend,
    observe,
    program,
    proven,
    verify,
)

pytestmark = pytest.mark.root

MANY = tuple(Backend(REMOTE.address + i, 8080) for i in range(20))
KEPT = {
    "dsr": frontend(LOCAL, REMOTE),
    "datagrams": frontend(LOCAL, REMOTE, protocol=Protocol.UDP),
    "geneve": frontend(LOCAL, BEHIND, mode=Mode.GENEVE),
    "IPv6": frontend(LOCAL6, REMOTE6, vip=VIP6),
    "a row": frontend(*MANY),
    "nobody": frontend(),
}
NOT_KEPT = {
    "snat": frontend(LOCAL, REMOTE, mode=Mode.SNAT),
    "sctp": frontend(LOCAL, REMOTE, protocol=Protocol.SCTP),
    "affinity": frontend(*MANY, affinity=True),
}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often what is done."""
    counts: Counter[str] = Counter()

    def count(where: Any, name: str, of: str = "", many: Callable[..., int] = lambda *_: 1) -> None:
        real = getattr(where, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counts[of or name] += many(*args)
            return real(*args, **kwargs)

        monkeypatch.setattr(where, name, counting)

    for where, name in ((probe, "run"), (packet, "build"), (Links, "observe")):
        count(where, name)
    count(shim, "run_xdp", "packets")
    count(shim, "run_xdp_from", "packets", lambda *args: len(args[-1]))
    return counts


@pytest.mark.parametrize("what", KEPT | NOT_KEPT)
def test_a_proof_is_made_anew_with_all_its_packets(node: Node, counted: Counter[str], what: str) -> None:
    wanted = (KEPT | NOT_KEPT)[what]
    datapath = node.attached()
    done(program(datapath, wanted))
    proven(datapath, wanted)
    counted.clear()
    done(verify(datapath, wanted))
    assert counted["packets"] == max(1, len(wanted.backends))
    if what in KEPT:
        assert (counted["run"], counted["build"]) == (0, 0)
    else:
        assert counted["run"] == len(wanted.backends)


@pytest.mark.parametrize("served", [KEPT["dsr"], KEPT["datagrams"], KEPT["IPv6"]], ids=["dsr", "datagrams", "IPv6"])
def test_packets_from_many_ports_end_as_one_by_one(node: Node, served: Frontend) -> None:
    """Also a datagram whose checksum would be 0, and with tags."""
    datapath, link = node.attached(), node.link()
    done(program(datapath, served))
    client = ip_address("198.51.100.10" if served.key.vip.version == 4 else "2001:db8::10")
    flow = Flow(client, 0, served.key.vip, served.key.port, served.key.protocol)
    for tags in ((), (100,), (7, 100)):
        template = packet.template(flow, link.address, tags)
        sum_of_0 = int.from_bytes(template.frame[template.sum_at : template.sum_at + 2], "big")
        ports = array("H", [1, 1024, 65535, sum_of_0])
        frames = list(packet.varied(flow, ports, link.address, tags))
        one_by_one = b"".join(probe.run(datapath._prog, link.ifindex, frame).raw for frame in frames)
        assert probe.raw(datapath._prog, link.ifindex, template, ports) == one_by_one
    many = array("H", range(2000))  # more than the room that is kept
    raws = probe.raw(datapath._prog, link.ifindex, packet.template(flow, link.address), many)
    assert raws.startswith(probe.raw(datapath._prog, link.ifindex, packet.template(flow, link.address), many[:1]))
    assert len(raws) > 1 << 17


def test_the_proofs_of_a_round_take_the_devices_as_it_saw_them(
    node: Node, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    datapath, wanted = node.attached(), [frontend(REMOTE, port=port) for port in range(80, 90)]
    monkeypatch.setattr(hand, "_ROUND", 600.0)  # however long this machine takes for ten proofs
    for each in wanted:
        done(program(datapath, each))
    proven(datapath, *wanted)
    counted.clear()
    observe(datapath)
    for each in wanted:
        done(verify(datapath, each))
    assert counted["observe"] == 1
    observe(datapath)
    assert counted["observe"] == 2, "another round"
    node.ip("link set lo mtu 1500")  # any news of devices will do
    for each in wanted:
        done(verify(datapath, each))
    assert counted["observe"] == 3, "what it saw may no longer be so"


@pytest.fixture
def datapath(node: Node) -> Datapath:
    """Proved twice."""
    made = node.attached()
    done(program(made, KEPT["dsr"]))
    proven(made, KEPT["dsr"])
    done(verify(made, KEPT["dsr"]))
    return made


def test_a_next_hop_that_is_gone_is_seen_by_the_next_proof(node: Node, datapath: Datapath) -> None:
    node.ip("link set eth0 down")
    assert failed(verify(datapath, KEPT["dsr"]))


def test_packets_that_end_elsewhere_are_seen_though_the_entry_and_its_block_are_as_they_were(
    datapath: Datapath,
) -> None:
    ranks = datapath._loaded.maps.ranks.bytes
    ranks[:] = ranks[abi.RANK_BYTES :].tobytes() + ranks[: abi.RANK_BYTES].tobytes()
    assert "went to another" in failed(verify(datapath, KEPT["dsr"]))


def test_another_link_layer_address_of_a_next_hop_is_no_trouble(
    node: Node, datapath: Datapath, counted: Counter[str]
) -> None:
    node.ip(f"neigh replace {ROUTER} lladdr 02:00:00:00:01:99 dev eth0 nud permanent")
    proven(datapath, KEPT["dsr"])
    counted.clear()
    done(verify(datapath, KEPT["dsr"]))
    assert counted["run"] == 0, "that it is good is known now"


def test_a_change_of_what_is_wanted_is_proved_as_such(datapath: Datapath, counted: Counter[str]) -> None:
    assert "other backends" in failed(verify(datapath, frontend(REMOTE)))
    done(program(datapath, frontend(REMOTE)))
    done(verify(datapath, frontend(REMOTE)))
    assert counted["run"] == 1
