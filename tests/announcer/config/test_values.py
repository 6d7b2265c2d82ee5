"""What a valid file means: defaults, names, selectors, addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, summarize_address_range

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.config import (
    AddressRange,
    Advertisement,
    Config,
    LabelExpression,
    NodeSelector,
    Operator,
    PeerConfig,
    PodCidrs,
    Pool,
    SecretRef,
    parse,
)
from announcer.config.originals.addresses import read_ranges
from announcer.config.originals.notes import Here
from announcer.config.ranges import shortest_prefix
from announcer.model.bgp import Password
from announcer.model.codec import from_json, to_json
from announcer.yamltree import read_documents

FULL = """\
peers:
- peer-address: 10.0.0.1
  peer-asn: 64512
  my-asn: 4200000000
  password-secret: {name: routers, key: tor-1}
- peer-address: 2001:db8::1
  peer-asn: 1
  my-asn: 2
  peer-port: 1179
  hold-time: 1m30.9s
  router-id: 10.9.9.9
  keepalive-time: 30s
  source-address: 2001:db8::9
  password: "0123"
  ebgp-multihop: true
  ttl-security: false
  passive: true
  graceful-restart: {time: 2m0.9s}
  node-selectors:
  - match-labels: {rack: a, empty: ""}
    match-expressions: [{key: zone, operator: In, values: [x, y]}]
  - {}
address-pools:
- name: default
  protocol: bgp
  addresses: [192.0.2.0/24, 198.51.100.10 - 198.51.100.20, 2001:db8:1::/64]
- name: other
  protocol: bgp
  addresses: [203.0.113.0/24]
  auto-assign: false
  avoid-buggy-ips: on
  bgp-advertisements:
  - localpref: 0
    communities: ["65000:20", blackhole, "65000:10"]
  - aggregation-length: 24
    large-communities: ["2:1:1", "1:2:3"]
    med: 50
    as-path-prepend: 3
    peers: ["2001:DB8::1", 10.0.0.1]
    node-selectors: [{match-labels: {rack: b}}]
    communities: [no-export, graceful-shutdown]
bgp-communities:
  blackhole: 64512:666
pod-cidrs:
  announce: false
  communities: [blackhole]
  localpref: 50
  peers: [10.0.0.1]
"""


EBGP = "peer-address: 10.0.0.1, peer-asn: 1, my-asn: 2"


def config(text: str) -> Config:
    result = parse(text)
    assert result.config is not None, "\n".join(map(str, result.problems))
    return result.config


def test_a_full_file_means_what_it_says() -> None:
    assert config(FULL) == Config(
        peers=(
            PeerConfig(
                name="10.0.0.1",
                address=ip_address("10.0.0.1"),
                peer_asn=64512,
                my_asn=4200000000,
                password_secret=SecretRef(name="routers", key="tor-1"),
            ),
            PeerConfig(
                name="2001:db8::1",
                address=ip_address("2001:db8::1"),
                peer_asn=1,
                my_asn=2,
                port=1179,
                hold_time=90,
                router_id=ip_address("10.9.9.9"),  # type: ignore[arg-type]
                node_selectors=(
                    NodeSelector(
                        match_labels={"rack": "a", "empty": ""},
                        match_expressions=(LabelExpression(key="zone", operator=Operator.IN, values=("x", "y")),),
                    ),
                    NodeSelector(),
                ),
                source_address=ip_address("2001:db8::9"),
                password=Password("0123"),
                multihop=True,
                ttl_security=False,
                passive=True,
                graceful_restart=120,
            ),
        ),
        pools=(
            Pool(
                name="default",
                ranges=(
                    AddressRange(ip_address("192.0.2.0"), ip_address("192.0.2.255")),
                    AddressRange(ip_address("198.51.100.10"), ip_address("198.51.100.20")),
                    AddressRange(ip_address("2001:db8:1::"), ip_address("2001:db8:1::ffff:ffff:ffff:ffff")),
                ),
            ),
            Pool(
                name="other",
                ranges=(AddressRange(ip_address("203.0.113.0"), ip_address("203.0.113.255")),),
                auto_assign=False,
                avoid_buggy_ips=True,
                advertisements=(
                    Advertisement(local_pref=0, communities=((64512, 666), (65000, 10), (65000, 20))),
                    Advertisement(
                        aggregation_length=24,
                        communities=((65535, 0), (65535, 65281)),
                        large_communities=((1, 2, 3), (2, 1, 1)),
                        med=50,
                        prepend=3,
                        peers=("10.0.0.1", "2001:db8::1"),
                        node_selectors=(NodeSelector(match_labels={"rack": "b"}),),
                    ),
                ),
            ),
        ),
        communities={"blackhole": (64512, 666)},
        pod_cidrs=PodCidrs(
            announce=False,
            advertisement=Advertisement(communities=((64512, 666),), local_pref=50, peers=("10.0.0.1",)),
        ),
    )


def test_a_configuration_is_kept_and_read_back_whole() -> None:
    assert from_json(to_json(config(FULL)), Config) == config(FULL)


def test_defaults_are_the_safe_ones() -> None:
    peer = config("peers: [{peer-address: 10.0.0.1, peer-asn: 1, my-asn: 2}]").peers[0]
    assert (peer.port, peer.hold_time, peer.router_id, peer.node_selectors) == (179, 90, None, ())
    pool = config("address-pools: [{name: a, protocol: bgp, addresses: [10.0.0.0/24]}]").pools[0]
    assert (pool.auto_assign, pool.avoid_buggy_ips) == (True, False)
    assert pool.advertisements == (Advertisement(aggregation_length=32, aggregation_length_v6=128, local_pref=None),)
    advertisement = pool.advertisements[0]
    assert (advertisement.med, advertisement.prepend, advertisement.peers) == (None, 0, ())
    assert (peer.password, peer.password_secret, peer.source_address) == (None, None, None)
    assert (peer.multihop, peer.ttl_security, peer.passive, peer.graceful_restart) == (False, None, False, None)
    assert config("").pod_cidrs == config("pod-cidrs:").pod_cidrs == PodCidrs(announce=True)
    assert config("pod-cidrs: {}").pod_cidrs == PodCidrs(announce=True)
    secret = config(f"peers: [{{{EBGP}, password-secret: {{name: a}}}}]").peers[0].password_secret
    assert secret == SecretRef(name="a", key="password")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no-export", (65535, 65281)),
        ("no-advertise", (65535, 65282)),
        ("no-export-subconfed", (65535, 65283)),
        ("graceful-shutdown", (65535, 0)),
        ("accept-own", (65535, 1)),
        ("llgr-stale", (65535, 6)),
        ("no-llgr", (65535, 7)),
        ("blackhole", (65535, 666)),
    ],
)
def test_well_known_names_have_the_values_of_the_registry(name: str, value: tuple[int, int]) -> None:
    text = "pod-cidrs: {communities: [" + name + "]}\n"
    assert config(text).pod_cidrs.advertisement.communities == (value,)
    shadowed = text + "bgp-communities: {" + name + ": '1:2'}"
    assert config(shadowed).pod_cidrs.advertisement.communities == ((1, 2),)


def test_an_address_stands_for_every_peer_that_has_it() -> None:
    text = f"peers: [{{{EBGP}}}, {{{EBGP}, peer-port: 1179}}]\npod-cidrs: {{peers: [10.0.0.1]}}"
    advertisement = config(text).pod_cidrs.advertisement
    assert advertisement.peers == ("10.0.0.1:1179", "10.0.0.1:179")
    assert [advertisement.reaches(name) for name in ("10.0.0.1:179", "10.0.0.1", "10.0.0.2")] == [True, False, False]
    assert Advertisement().reaches("10.0.0.2")


def test_a_wrong_peer_does_not_make_its_name_wrong() -> None:
    text = "peers: [{peer-address: 10.0.0.1, peer-asn: 0, my-asn: 2}]\npod-cidrs: {peers: [10.0.0.1]}"
    assert [problem.path for problem in parse(text).problems] == ["peers[0].peer-asn"]


def test_an_advertisement_selects_nodes() -> None:
    advertisement = Advertisement(node_selectors=(NodeSelector(match_labels={"r": "1"}),))
    assert [advertisement.selects(labels) for labels in ({"r": "1"}, {"r": "2"}, {})] == [True, False, False]
    assert Advertisement().selects({})


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "null", "{}", "peers:\naddress-pools:\n", "\ufeff"])
def test_an_empty_document_is_valid(text: str) -> None:
    assert config(text) == Config()


def test_json_is_taken() -> None:
    peer = '{"peer-address": "10.0.0.1", "peer-asn": 1, "my-asn": 2, "hold-time": "30s"}'
    found = config('{"peers": [' + peer + '], "bgp-communities": {"a": "1:2"}}')
    assert found.peers[0].hold_time == 30
    assert found.communities == {"a": (1, 2)}


def test_merge_keys_and_anchors_are_written_out() -> None:
    text = """\
peers:
- &base {peer-address: 10.0.0.1, peer-asn: 1, my-asn: 2, hold-time: 30s}
- {<<: *base, peer-address: 10.0.0.2}
- {peer-asn: 9, <<: [{my-asn: 5}, *base], peer-address: 10.0.0.3}
"""
    found = [(str(peer.address), peer.peer_asn, peer.my_asn, peer.hold_time) for peer in config(text).peers]
    assert found == [("10.0.0.1", 1, 2, 30), ("10.0.0.2", 1, 2, 30), ("10.0.0.3", 9, 5, 30)]


@pytest.mark.parametrize(
    ("peers", "names"),
    [
        (["10.0.0.1 179 1 2", "10.0.0.2 179 1 2"], ["10.0.0.1", "10.0.0.2"]),
        (["10.0.0.1 179 1 2", "10.0.0.1 1179 1 2"], ["10.0.0.1:179", "10.0.0.1:1179"]),
        (["::1 179 1 2", "::1 1179 1 2"], ["[::1]:179", "[::1]:1179"]),
        (["10.0.0.1 179 1 2", "10.0.0.1 179 3 2"], ["10.0.0.1#1", "10.0.0.1#3"]),
        (["10.0.0.1 179 1 2", "10.0.0.1 179 3 2", "10.0.0.1 9 1 2"], ["10.0.0.1:179#1", "10.0.0.1#3", "10.0.0.1:9"]),
        (["10.0.0.1 179 1 2", "10.0.0.1 179 1 3"], ["10.0.0.1:179#1-2", "10.0.0.1:179#1-3"]),
        (["10.0.0.1 179 1 2", "10.0.0.1 179 1 2"], ["10.0.0.1:179#1-2-0", "10.0.0.1:179#1-2-1"]),
    ],
)
def test_names_of_peers_are_as_short_as_they_can_be(peers: list[str], names: list[str]) -> None:
    lines = ["peers:"]
    for number, (address, port, peer_asn, my_asn) in enumerate(peer.split() for peer in peers):
        keys = f"peer-address: '{address}', peer-port: {port}, peer-asn: {peer_asn}, my-asn: {my_asn}"
        lines.append(f"- {{{keys}, node-selectors: [{{match-labels: {{n: n{number}}}}}]}}")
    assert [peer.name for peer in config("\n".join(lines)).peers] == names


EXPRESSION = {
    "In": LabelExpression(key="a", operator=Operator.IN, values=("x", "y")),
    "NotIn": LabelExpression(key="a", operator=Operator.NOT_IN, values=("x", "y")),
    "Exists": LabelExpression(key="a", operator=Operator.EXISTS),
    "DoesNotExist": LabelExpression(key="a", operator=Operator.DOES_NOT_EXIST),
}


@pytest.mark.parametrize(
    ("operator", "labels", "expected"),
    [
        ("In", {"a": "x"}, True),
        ("In", {"a": "z"}, False),
        ("In", {}, False),
        ("NotIn", {"a": "x"}, False),
        ("NotIn", {"a": "z"}, True),
        ("NotIn", {}, True),
        ("Exists", {"a": ""}, True),
        ("Exists", {"b": "x"}, False),
        ("DoesNotExist", {"a": "x"}, False),
        ("DoesNotExist", {"b": "x"}, True),
    ],
)
def test_expressions_match_as_in_kubernetes(operator: str, labels: dict[str, str], expected: bool) -> None:
    assert EXPRESSION[operator].matches(labels) is expected
    assert NodeSelector(match_expressions=(EXPRESSION[operator],)).matches(labels) is expected


def test_everything_in_a_selector_must_hold_and_any_selector_will_do() -> None:
    both = NodeSelector(match_labels={"r": "1", "s": "2"}, match_expressions=(EXPRESSION["Exists"],))
    assert both.matches({"r": "1", "s": "2", "a": "", "more": "x"})
    assert not both.matches({"r": "1", "a": ""})
    assert not both.matches({"r": "1", "s": "2"})
    assert not both.matches({"r": "1", "s": "3", "a": ""})
    assert NodeSelector().matches({})
    peer = PeerConfig(name="p", address=ip_address("10.0.0.1"), peer_asn=1, my_asn=2)
    assert peer.selects({})
    two = PeerConfig(
        name="p",
        address=ip_address("10.0.0.1"),
        peer_asn=1,
        my_asn=2,
        node_selectors=(NodeSelector(match_labels={"r": "1"}), NodeSelector(match_labels={"r": "2"})),
    )
    assert [two.selects({"r": value}) for value in "123"] == [True, True, False]


@pytest.mark.parametrize(
    ("address", "contains", "allows"),
    [
        ("192.0.2.0", True, False),
        ("192.0.2.255", True, False),
        ("192.0.2.1", True, True),
        ("192.0.3.0", False, False),
        ("192.0.1.255", False, False),
        ("::c000:201", False, False),
        ("2001:db8::ff", True, True),
    ],
)
def test_a_pool_knows_its_addresses(address: str, contains: bool, allows: bool) -> None:
    pool = config(
        "address-pools: [{name: a, protocol: bgp, addresses: [192.0.2.0/24, '2001:db8::/120'], avoid-buggy-ips: true}]"
    ).pools[0]
    assert pool.contains(ip_address(address)) is contains
    assert pool.allows(ip_address(address)) is allows


def test_the_pool_of_an_address() -> None:
    found = config(FULL)
    names = [
        pool.name if (pool := found.pool_of(ip_address(text))) else None
        for text in ("192.0.2.9", "203.0.113.1", "10.0.0.1")
    ]
    assert names == ["default", "other", None]


@given(st.sampled_from([4, 8, 16, 32]).flatmap(lambda bits: st.tuples(*[st.integers(0, 2**bits - 1)] * 2)))
def test_the_lengths_of_a_range_are_those_of_its_prefixes(ends: tuple[int, int]) -> None:
    first, last = (IPv4Address(number) for number in sorted(ends))
    lengths = [network.prefixlen for network in summarize_address_range(first, last)]
    assert shortest_prefix(AddressRange(first, last)) == min(lengths)
    (found,) = read_ranges(Here(read_documents(f"addresses: [{first}-{last}]").documents[0].root))
    assert found.longest == max(lengths)
