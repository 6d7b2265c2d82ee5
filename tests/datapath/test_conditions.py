"""What the program does when the node around it is not as it should be: routes, neighbours, settings, damaged maps."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from scapy.layers.l2 import Ether

from announcer.model.lb import Backend, Mode
from announcer.model.observed import OutcomeState
from datapath import abi, blocks, encode, netdev, probe
from datapath.abi import PacketReason, Verdict
from datapath.hand import Datapath
from tests.datapath.frames import encapsulated, frame, tcp
from tests.datapath.netns import variant
from tests.datapath.node import (
    BEHIND,
    LOCAL,
    REMOTE,
    REMOTE_NODE,
    Node,
    done,
    eventually,
    failed,
    foreign,
    frontend,
    observe,
    program,
    proven,
    verify,
)

pytestmark = pytest.mark.root

TO_REMOTE = frontend(REMOTE)


def end(node: Node, datapath: Datapath, sent: bytes | None = None) -> probe.Answer:
    link = node.link()
    return probe.run(datapath._prog, link.ifindex, sent or frame(tcp(), link.address))


def test_no_route(node: Node) -> None:
    node.ip("route add blackhole 10.244.2.0/24")
    datapath = node.attached()
    done(program(datapath, TO_REMOTE))
    assert end(node, datapath).reason is PacketReason.NO_ROUTE
    assert "no_route" in failed(verify(datapath, TO_REMOTE))


def test_a_route_that_comes_and_changes_is_noticed_and_healed(node: Node) -> None:
    node.ip("route add blackhole 10.244.2.0/24")
    datapath = node.attached()
    done(program(datapath, TO_REMOTE))
    assert not observe(datapath).damaged
    node.ip("route del blackhole 10.244.2.0/24", "addr add 192.168.1.77/24 dev eth0")
    node.ip("route add 10.244.2.0/24 via 192.168.1.11 src 192.168.1.77")
    assert "changed" in observe(datapath).damaged[TO_REMOTE.key]
    done(program(datapath, TO_REMOTE))
    proven(datapath, TO_REMOTE)
    assert not observe(datapath).damaged


def test_no_neighbour(node: Node) -> None:
    nobody = Backend(IPv4Address("192.168.1.99"), 80, False)
    datapath = node.attached()
    done(program(datapath, frontend(nobody)))
    assert end(node, datapath).reason is PacketReason.NO_NEIGHBOUR
    outcome = verify(datapath, frontend(nobody))
    assert "next hop is not resolved" in failed(outcome)
    assert outcome.retry
    assert outcome.proof is not None
    assert not outcome.proof.ok


def test_a_neighbour_that_was_flushed_is_noticed_and_healed(node: Node) -> None:
    node.forget_router()
    datapath = node.attached()
    done(program(datapath, TO_REMOTE))
    proven(datapath, TO_REMOTE)
    node.run("ip", "neigh", "del", "192.168.1.11", "dev", "eth0")
    assert "managed neighbour" in observe(datapath).damaged[TO_REMOTE.key]
    done(program(datapath, TO_REMOTE))
    proven(datapath, TO_REMOTE)
    assert not observe(datapath).damaged


def test_forwarding_off(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, TO_REMOTE))
    node.run("sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=0")
    assert end(node, datapath).reason is PacketReason.FORWARDING_OFF
    assert "forwarding_off" in failed(verify(datapath, TO_REMOTE))


def test_another_device_is_a_redirect(node: Node) -> None:
    """An operator's permanent neighbour is used and left alone."""
    node.ip("route add 10.244.2.10/32 dev pod src 192.168.1.21")
    node.ip("neigh add 10.244.2.10 lladdr 02:00:00:00:00:07 dev pod nud permanent")
    datapath = node.attached()
    done(program(datapath, TO_REMOTE))
    answer = end(node, datapath)
    pod = node.link("pod")
    assert (answer.verdict, answer.reason, answer.ifindex) == (
        Verdict.REDIRECT,
        PacketReason.REMOTE_REDIRECT,
        pod.ifindex,
    )
    out = Ether(src=pod.address.hex(":"), dst="02:00:00:00:00:07", type=0x0800) / encapsulated(tcp())
    assert answer.frame == bytes(out)
    assert "takes no packets from native XDP" in failed(verify(datapath, TO_REMOTE))
    node.run("ethtool", "-K", "podside", "gro", "on")  # what a veth needs to take redirected packets
    proven(datapath, TO_REMOTE)
    assert "PERMANENT" in node.run("ip", "neigh", "show", "10.244.2.10")
    assert "proto 76" not in node.run("ip", "-d", "neigh", "show", "10.244.2.10")


def test_a_redirect_of_which_the_kernel_cannot_tell_is_no_proof(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.3: asked for a family that it does not have, this kernel answers as they do."""
    monkeypatch.setattr(netdev, "_FAMILY", b"lk-none\0")
    node.ip("route add 10.244.2.10/32 dev pod src 192.168.1.21")
    node.ip("neigh add 10.244.2.10 lladdr 02:00:00:00:00:07 dev pod nud permanent")
    node.run("ethtool", "-K", "podside", "gro", "on")
    datapath = node.attached()
    done(program(datapath, TO_REMOTE))
    assert end(node, datapath).reason is PacketReason.REMOTE_REDIRECT
    assert "Linux 6.3 and later can" in failed(verify(datapath, TO_REMOTE))


def test_a_local_backend_that_the_stack_would_send_away_is_no_proof(node: Node) -> None:
    """Translated and handed to the stack, the packet would go back to the router."""
    datapath = node.attached()
    node.ip("route del 10.244.1.0/24 dev pod")
    done(program(datapath, frontend(LOCAL)))
    assert end(node, datapath).reason is PacketReason.LOCAL
    assert "not reachable on this node" in failed(verify(datapath, frontend(LOCAL)))


@pytest.mark.parametrize("damage", ["member", "preference", "slot", "backend", "decap", "vip", "vip flags"])
def test_damage_is_noticed_and_healed(node: Node, damage: str) -> None:
    others = [Backend(REMOTE.address + i, 8080) for i in range(1, 16)]  # as many as only a row can hold
    wanted = frontend(LOCAL, REMOTE, *(others if damage == "slot" else ()))
    datapath = node.attached()
    done(program(datapath, wanted))
    proven(datapath, wanted)
    maps, held = datapath._loaded.maps, datapath._tables.frontends[wanted.key]
    number = held.ids[0][1]
    match damage:
        case "member":
            maps.rows.words[held.entry.block] = number + 2
        case "preference":  # a backend of ours, but it gets slots of the other
            maps.rows.words[held.entry.block + 2] ^= 1
        case "slot":  # a backend of ours, but it is the other's slot
            slot = blocks.read_row(maps, held.entry).slots.index(1)
            maps.rows.bytes[held.entry.row_at + slot] = 0
        case "backend":
            at = number * abi.BACKEND_BYTES
            maps.backends.bytes[at : at + abi.BACKEND_BYTES] = bytes(abi.BACKEND_BYTES)
        case "decap":
            (entry,) = maps.decaps.dump()
            foreign(maps.decaps).remove(entry)
        case "vip":
            foreign(maps.vips).remove(encode.address_bytes(wanted.key.vip))
        case "vip flags":
            foreign(maps.vips).put(encode.address_bytes(wanted.key.vip), bytes(4))
    if damage != "vip flags":  # they only decide on echo
        assert verify(datapath, wanted).state is OutcomeState.FAILED
    assert observe(datapath).damaged[wanted.key]
    done(program(datapath, wanted))
    proven(datapath, wanted)
    assert not observe(datapath).damaged


def test_ranks_are_mended_by_the_next_look(node: Node) -> None:
    wanted = frontend(LOCAL, REMOTE)
    datapath = node.attached()
    done(program(datapath, wanted))
    proven(datapath, wanted)
    ranks = datapath._loaded.maps.ranks
    ranks.bytes[:] = bytes(len(ranks.bytes))
    assert "went to another" in failed(verify(datapath, wanted))
    observe(datapath)
    proven(datapath, wanted)


def test_a_row_that_names_no_backend_drops(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, TO_REMOTE))
    number = datapath._tables.frontends[TO_REMOTE.key].ids[0][1]
    backends = datapath._loaded.maps.backends
    backends.bytes[number * abi.BACKEND_BYTES : (number + 1) * abi.BACKEND_BYTES] = bytes(abi.BACKEND_BYTES)
    answer = end(node, datapath)
    assert (answer.verdict, answer.reason) == (Verdict.DROP, PacketReason.BAD_ROW)


@pytest.mark.parametrize(
    ("header", "text", "other", "problem"),
    [
        ("lb_flow.h", "hash >> 27", "hash >> 25", "went to another"),
        ("lb_abi.h", "X(local, PASS)", "X(local, DROP)", "ended as local"),
        ("lb_nat.h", "tcp->dest = to->port;", "tcp->dest = 0;", "not rewritten as it should"),
        ("lb_nat.h", "ip->check = csum_update", "ip->id = csum_update", "not rewritten as it should"),
        ("lb_encap.h", ".daddr = tunnel->dest", ".daddr = tunnel->source", "not encapsulated as it should"),
        ("lb_encap.h", "		ip->ttl--;", "		ip->ttl -= 2;", "not encapsulated as it should"),
        ("lb_abi.h", "X(remote_tx, TX)", "X(remote_tx, PASS)", "ended as remote_tx"),
        ("lb_abi.h", "X(no_backend, DROP)", "X(no_backend, PASS)", "a packet without a backend ended as no_backend"),
    ],
)
def test_a_program_that_does_something_else_is_no_proof(
    node: Node, header: str, text: str, other: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datapath.loader.load.__defaults__", (variant(node.bpffs.parent, header, text, other),))
    datapath = node.attached()
    both, none = frontend(LOCAL, REMOTE), frontend(port=81)
    done(program(datapath, both))
    done(program(datapath, none))
    eventually(lambda: problem in failed(verify(datapath, both, none)))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("*data = backend->word_be[3];", "*data = backend->word_be[2];"),
        ("geneve->vni = bpf_htonl(LB_GENEVE_VNI << 8);", "geneve->vni = 0;"),
        ("geneve->flags = GENEVE_CRITICAL;", "geneve->flags = 0;"),
        ("geneve->udp.dest = bpf_htons(LB_GENEVE_PORT);", "geneve->udp.dest = geneve->udp.source;"),
        ("geneve->option_length = words;", "geneve->option_length = 0;"),
    ],
)
def test_a_program_that_does_something_else_with_geneve_is_no_proof(
    node: Node, text: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datapath.loader.load.__defaults__", (variant(node.bpffs.parent, "lb_geneve.h", text, other),))
    datapath = node.attached()
    wanted = frontend(BEHIND, mode=Mode.GENEVE)
    done(program(datapath, wanted))
    eventually(lambda: "not encapsulated as it should" in failed(verify(datapath, wanted)))


def test_geneve_goes_by_the_way_to_the_node_of_the_backend(node: Node) -> None:
    """There is none to the backend itself: that is what an overlay is for."""
    node.ip("route add blackhole 10.244.2.0/24")
    datapath = node.attached()
    wanted = frontend(BEHIND, mode=Mode.GENEVE)
    done(program(datapath, wanted))
    proven(datapath, wanted)
    done(program(datapath, TO_REMOTE))
    assert "no_route" in failed(verify(datapath, TO_REMOTE)), "control: by IP in IP it is not to be had"
    done(program(datapath, wanted))
    node.ip(f"route add blackhole {REMOTE_NODE}")
    assert "changed" in observe(datapath).damaged[wanted.key]
    done(program(datapath, wanted))
    assert end(node, datapath).reason is PacketReason.NO_ROUTE


def test_a_lost_entry_is_observed_and_no_proof(node: Node) -> None:
    wanted = frontend(LOCAL)
    datapath = node.attached()
    done(program(datapath, wanted))
    (entry,) = datapath._loaded.maps.frontends.dump()
    foreign(datapath._loaded.maps.frontends).remove(entry)
    assert "no entry" in failed(verify(datapath, wanted))
    assert wanted.key not in observe(datapath).frontends
    done(program(datapath, wanted))
    eventually(lambda: verify(datapath, wanted).state is OutcomeState.DONE)
