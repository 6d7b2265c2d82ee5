"""Clients that are let in: the sets in the kernel, how one takes the place of another, what the proof makes of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address, ip_network
from itertools import islice

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from announcer.decide.sources import source_ranges
from announcer.model.lb import Backend, Frontend, MapUsage
from announcer.model.net import IPAddress, IPNetwork, Protocol
from datapath import abi, aim, encode, packet, probe
from datapath.abi import PacketReason, Verdict
from datapath.hand import Datapath
from datapath.maps import HashMap
from datapath.sources import Ranges
from datapath.trace import TraceRequest
from tests.announcer.build import service
from tests.datapath.cluster import Cluster, pod, running
from tests.datapath.netns import Names
from tests.datapath.node import (
    CLIENT,
    LOCAL,
    LOCAL6,
    REMOTE,
    SMALL,
    VIP,
    VIP6,
    Node,
    done,
    eventually,
    failed,
    frontend,
    observe,
    program,
    proven,
    remove,
    verify,
)

A, B, C, D = map(ip_network, ("10.1.0.0/16", "198.51.100.0/28", "10.3.0.0/16", "10.4.0.0/16"))
SIX = ip_network("2001:db8:c::/48")
FENCED = frontend(LOCAL, source_ranges=(B,))


def ends(datapath: Datapath, node: Node, source: IPAddress, vip: IPAddress = VIP) -> PacketReason:
    link = node.link()
    sent = packet.build(packet.Flow(source, 40000, vip, 80, Protocol.TCP), link.address)
    return probe.run(datapath._prog, link.ifindex, sent).reason


def entries(datapath: Datapath) -> int:
    return len(datapath._loaded.maps.sources.dump())


# --- where synthetic packets come from ------------------------------------------------------------------------------

PREFIXES = st.one_of(
    st.builds(
        lambda number, length: ip_network((number, length), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(1, 32),
    ),
    st.builds(
        lambda number, length: ip_network((number, length), strict=False),
        st.integers(2**96, 2**128 - 1),
        st.integers(1, 128),
    ),
)


@given(st.lists(PREFIXES, min_size=1, max_size=6), st.sampled_from([4, 6]))
def test_insiders_are_inside_and_the_outsider_is_not(listed: list[IPNetwork], version: int) -> None:
    ranges = source_ranges(service(source_ranges=tuple(listed)), version)
    assume(ranges is not None)
    assert ranges is not None
    clients = list(islice(aim.insiders(version, ranges), 100))
    assert bool(clients) == bool(ranges)
    assert all(any(client in prefix for prefix in ranges) for client in clients)
    outsider = aim.outsider(version, ranges)
    assert outsider is not None
    assert outsider.version == version
    assert not any(outsider in prefix for prefix in ranges)


def test_nobodys_addresses_are_taken_where_they_are_let_in() -> None:
    documentation = ip_network("192.0.2.0/24")
    assert all(client in documentation for client in islice(aim.insiders(4, None), 200))
    assert next(aim.insiders(4, (ip_network("192.0.0.0/8"),))) in documentation
    assert next(aim.insiders(4, (ip_network("192.0.2.8/30"),))) in ip_network("192.0.2.8/30")
    assert list(aim.insiders(4, (ip_network("10.0.0.1/32"),))) == [IPv4Address("10.0.0.1")]
    assert aim.outsider(4, (ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1"))) is None


# --- in the kernel --------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize(
    "wanted",
    [
        FENCED,
        frontend(LOCAL, REMOTE, source_ranges=(A, B)),
        frontend(LOCAL, source_ranges=()),
        frontend(source_ranges=(B,)),
        frontend(LOCAL, source_ranges=(ip_network("192.0.2.0/24"),)),
        frontend(LOCAL6, vip=VIP6, source_ranges=(SIX,)),
        frontend(LOCAL, affinity=True, source_ranges=(ip_network("10.0.0.1/32"),)),
        frontend(*[Backend(LOCAL.address + i, 80, True) for i in range(5)], affinity=True, source_ranges=(B,)),
    ],
    ids=["one", "two", "nobody", "no backends", "documentation", "ipv6", "one client", "affinity"],
)
def test_what_is_let_in_is_read_back_and_proven(node: Node, wanted: Frontend) -> None:
    datapath = node.attached()
    done(program(datapath, wanted))
    assert observe(datapath).frontends == {wanted.key: wanted}
    proven(datapath, wanted)
    done(remove(datapath, wanted.key))
    observe(datapath)
    assert entries(datapath) == 0


@pytest.mark.root
def test_frontends_of_equal_ranges_share_a_set(node: Node) -> None:
    datapath = node.attached()
    for port in (80, 81, 82):
        done(program(datapath, frontend(LOCAL, port=port, source_ranges=(A, B))))
    assert observe(datapath).maps["lb_sources"] == MapUsage(2, SMALL.sources)
    done(program(datapath, frontend(LOCAL, port=81, source_ranges=(A,))))
    assert observe(datapath).maps["lb_sources"].used == 3
    done(program(datapath, frontend(LOCAL, port=81)))
    done(remove(datapath, frontend(port=82).key))
    assert observe(datapath).maps["lb_sources"].used == 2
    proven(datapath, frontend(LOCAL, source_ranges=(A, B)))


@pytest.mark.root
def test_no_client_is_in_the_wrong_state_at_any_step_of_a_change(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ranges let in B, neither D; every write to a map is an instant at which packets may come."""
    datapath = node.attached()
    wanted = [frontend(LOCAL, source_ranges=(A, B)), frontend(LOCAL, REMOTE, source_ranges=(B, C))]
    done(program(datapath, wanted[0]))
    seen: list[tuple[PacketReason, ...]] = []

    def look() -> None:
        seen.append(tuple(ends(datapath, node, client) for client in (B[5], D[5])))

    def watched(name: str) -> None:
        real = getattr(HashMap, name)

        def write(self: HashMap, *given: bytes) -> None:
            look()
            real(self, *given)
            look()

        monkeypatch.setattr(HashMap, name, write)

    watched("put")
    watched("remove")
    for turn in range(1, 7):
        done(program(datapath, wanted[turn % 2]))
        observe(datapath)
    refused = PacketReason.SOURCE_NOT_ALLOWED
    assert len(seen) > 6 * 2 * 5
    assert {reasons[1] for reasons in seen} == {refused}
    assert refused not in {reasons[0] for reasons in seen}


@pytest.mark.root
def test_a_set_goes_only_when_nothing_can_be_on_its_way_to_it(node: Node) -> None:
    now = 1000.0
    datapath = Datapath(bpffs=node.bpffs, limits=msgspec.structs.replace(SMALL, rest=1.0), clock=lambda: now)
    datapath.open()
    try:
        done(program(datapath, FENCED))
        done(program(datapath, frontend(LOCAL, source_ranges=(A,))))
        observe(datapath)
        assert entries(datapath) == 2
        now += 1.0
        observe(datapath)
        assert entries(datapath) == 1
    finally:
        datapath.close()


@pytest.mark.root
@pytest.mark.parametrize("how", ["taken out", "added"])
def test_entries_that_somebody_changed_are_noticed_and_mended(node: Node, how: str) -> None:
    datapath = node.attached()
    done(program(datapath, FENCED))
    proven(datapath, FENCED)
    trie = datapath._loaded.maps.sources
    (key,) = trie.dump()
    if how == "taken out":
        trie.remove(key)
        assert failed(verify(datapath, FENCED))
    else:
        trie.put(*encode.source_entry(encode.decode_source_key(key)[0], D))
        assert ends(datapath, node, D[1]) is PacketReason.LOCAL, "control: the trie decides"
    assert observe(datapath).frontends != {FENCED.key: FENCED}
    done(program(datapath, FENCED))
    assert observe(datapath).frontends == {FENCED.key: FENCED}
    proven(datapath, FENCED)
    assert ends(datapath, node, D[1]) is PacketReason.SOURCE_NOT_ALLOWED
    assert ends(datapath, node, CLIENT) is PacketReason.LOCAL
    assert entries(datapath) == 1


@pytest.mark.root
def test_a_value_that_somebody_changed_is_mended_where_it_stands(node: Node) -> None:
    """No packet looks at it."""
    datapath = node.attached()
    done(program(datapath, FENCED))
    (entry,) = datapath._loaded.maps.sources.dump().items()
    datapath._loaded.maps.sources.put(entry[0], abi.SOURCE.pack(7))
    assert failed(verify(datapath, FENCED))
    assert observe(datapath).frontends == {FENCED.key: FENCED}
    proven(datapath, FENCED)
    assert datapath._loaded.maps.sources.dump() == dict([entry])


@pytest.mark.root
def test_the_proof_sees_that_somebody_is_let_in_who_should_not(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read back is right, the program is not: it takes another set."""
    datapath = node.attached()
    done(program(datapath, FENCED))
    done(program(datapath, frontend(LOCAL, port=81, source_ranges=(ip_network("192.0.0.0/8"),))))
    proven(datapath, FENCED)
    real = probe.run

    def run(prog: int, ifindex: int, sent: bytes) -> probe.Answer:
        answer = real(prog, ifindex, sent)
        lets_in = answer.reason is PacketReason.SOURCE_NOT_ALLOWED
        return answer._replace(verdict=Verdict.PASS, reason=PacketReason.LOCAL) if lets_in else answer

    monkeypatch.setattr(probe, "run", run)
    assert "which is outside of the source ranges, ended as local" in failed(verify(datapath, FENCED))


@pytest.mark.root
def test_the_proof_steps_around_the_flows_of_a_client_that_it_borrows(node: Node) -> None:
    """In a slot in transition the program knows where a flow of that very client belongs, and that is not news."""
    first, second = Backend(LOCAL.address, 8080, True), Backend(LOCAL.address + 1, 8080, True)
    client, number = A[1], 0
    fenced = frontend(first, source_ranges=(ip_network(client),))
    changed = msgspec.structs.replace(fenced, backends=(first, second))
    datapath = node.attached()
    for wanted in (fenced, changed):
        done(program(datapath, wanted))
        proven(datapath, wanted)
    maps, address = datapath._loaded.maps, encode.address_bytes
    number = dict(datapath._tables.frontends[changed.key].ids)[first]
    entry = abi.FLOW.pack(number, datapath._tables.generation(number), 0, 1)
    for port in range(1024, 1088):  # all that the proof would take
        key = abi.FLOW_KEY.pack(address(client), address(VIP), encode.port_bytes(port), encode.port_bytes(80), 6)
        maps.flows.put(key, entry)
    proven(datapath, changed)


@pytest.mark.root
@pytest.mark.parametrize("ranges", [None, (ip_network("10.0.0.1/32"),)], ids=["everybody", "one client"])
def test_a_backend_more_does_not_disturb_the_proof_with_affinity(node: Node, ranges: Ranges | None) -> None:
    first, *more = (Backend(LOCAL.address + i, 8080, True) for i in range(5))
    datapath = node.attached()
    for backends in ((first,), (first, *more), more):
        wanted = frontend(*backends, affinity=True, source_ranges=ranges)
        done(program(datapath, wanted))
        proven(datapath, wanted)


@pytest.mark.root
def test_a_new_agent_finds_the_sets_and_sweeps_what_nobody_names(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, FENCED))
    datapath._loaded.maps.sources.put(*encode.source_entry(77, D))
    datapath.close()
    again = node.attached()
    assert entries(again) == 1
    assert observe(again).frontends == {FENCED.key: FENCED}
    done(program(again, frontend(LOCAL, port=81, source_ranges=(A,))))
    assert {encode.decode_source_key(key)[1] for key in again._loaded.maps.sources.dump()} == {A, B}
    proven(again, FENCED)


@pytest.mark.root
def test_a_full_map_leaves_what_stands(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, FENCED))
    many = tuple(ip_network(f"10.{i}.0.0/24") for i in range(SMALL.sources))
    assert "the map is full" in failed(program(datapath, frontend(LOCAL, source_ranges=many)))
    assert entries(datapath) == 1
    assert observe(datapath).frontends == {FENCED.key: FENCED}
    proven(datapath, FENCED)
    done(program(datapath, frontend(LOCAL, source_ranges=many[1:])))


@pytest.mark.root
def test_trace_says_who_is_let_in(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, FENCED))
    request = TraceRequest(source=ip_address("10.9.9.9"), source_port=1, dest=VIP, dest_port=80)
    refused = datapath.trace(request)
    assert (refused.verdict, refused.reason) == (Verdict.DROP, PacketReason.SOURCE_NOT_ALLOWED)
    assert refused.source_ranges == (B,)
    assert datapath.trace(msgspec.structs.replace(request, source=CLIENT)).reason is PacketReason.LOCAL


# --- real clients ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(names: Names, built: None) -> Iterator[Cluster]:
    with running(Cluster(names)) as made:
        yield made


@pytest.mark.root
@pytest.mark.parametrize("where", [0, 1], ids=["local", "remote"])
def test_one_client_is_served_and_the_other_is_not(cluster: Cluster, where: int) -> None:
    """Both of them live on the same host, behind the same router."""
    cluster.pod_server(where, socket.SOCK_DGRAM, 5353)
    served, other = str(CLIENT), "198.51.100.11"
    everybody = frontend(pod(where, 5353), port=53, protocol=Protocol.UDP)
    fenced = msgspec.structs.replace(everybody, source_ranges=(ip_network(f"{served}/32"),))
    with cluster.socket(socket.SOCK_DGRAM) as one, cluster.socket(socket.SOCK_DGRAM) as two:
        one.bind((served, 0))
        two.bind((other, 0))

        def asks(client: socket.socket) -> bytes:
            client.sendto(b"hello", (str(VIP), 53))
            return client.recvfrom(100)[0]

        cluster.serve(everybody)
        assert asks(two), "control: it is the ranges that shut it out"
        cluster.serve(fenced)
        two.setblocking(False)
        for count in range(1, 4):
            assert asks(one).endswith(b"hello")
            two.sendto(b"hello", (str(VIP), 53))
            eventually(lambda n=count: cluster.counters()[0]["source_not_allowed"] == n)  # type: ignore[misc]
            with pytest.raises(BlockingIOError):
                two.recv(100)
